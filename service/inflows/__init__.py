"""What the bank does by itself, entered once each."""
