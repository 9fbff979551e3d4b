"""What the scheduler knows: nodes and tasks."""
