"""The options of tasks, checked as a node would."""
