"""Bytes that are moved inside the kernel."""
