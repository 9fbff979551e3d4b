"""What the file means, and how it is read."""
