"""The web page and the JSON behind it, and who may ask for them."""
