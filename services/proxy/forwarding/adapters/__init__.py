"""The way to a node, in threads."""
