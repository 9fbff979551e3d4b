"""What happens to an upload, in order."""
