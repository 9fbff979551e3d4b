"""What happens on the way to a node: questions for slots, attempts, and what goes ahead of a commit."""
