"""Whoever rents out machines: one interface, one adapter for each vendor."""
