"""How answers look, as JSON and as text. Pure. A token has no way into any of them."""
