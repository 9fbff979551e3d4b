"""What is done about machines, in order."""
