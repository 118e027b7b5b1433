"""The bank's interfaces, and the choices where its documents are silent, as data."""
