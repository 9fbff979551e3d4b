"""What comes of a poll: from memory, from the task's node, from its record."""
