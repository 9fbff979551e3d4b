"""What the web decides: who may ask, what lists show, what of everything is shown how. Pure."""
