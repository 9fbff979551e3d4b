"""What a poll is told."""
