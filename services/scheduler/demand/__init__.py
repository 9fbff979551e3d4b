"""What is told of the whole cluster: its totals, and the tasks that a machine would help."""
