"""Asking nodes, and telling them."""
