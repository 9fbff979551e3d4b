"""Nodes: what operators do with them, how they are, and what becomes of those that leave or fall silent."""
