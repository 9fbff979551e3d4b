"""The world, one vendor per module: its types and exceptions stop here."""
