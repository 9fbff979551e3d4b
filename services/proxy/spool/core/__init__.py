"""What an upload is, and what is remembered of it."""
