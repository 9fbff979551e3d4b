"""Tasks, from a client's commit to the end of their records."""
