"""Callbacks: what nodes and machines report and ask."""
