"""Where results lie, and what of an answer about one passes to its client."""
