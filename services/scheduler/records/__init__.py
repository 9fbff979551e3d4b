"""The records of tasks and nodes, and what is in memory of them: one writer, one index."""
