"""Those who check tokens, one kind per module."""
