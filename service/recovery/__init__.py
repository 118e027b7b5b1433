"""Books that were restored from a copy, brought up to the bank."""
