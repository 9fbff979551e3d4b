"""A machine's life as a table, and what became of machines."""
