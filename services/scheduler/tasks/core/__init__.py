"""What is submitted, and what is seen of it. Pure."""
