"""Actions: what a client does to a committed task."""
