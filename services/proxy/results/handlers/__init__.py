"""What happens when a client wants a result or a page."""
