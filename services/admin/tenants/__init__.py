"""Tenants and their tokens: what operators do with them, whichever way they ask for it, and how the file of tokens is shown."""
