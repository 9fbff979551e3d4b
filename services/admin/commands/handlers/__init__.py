"""Carries out commands over the bus; each kind of thing that commands are about has a module."""
