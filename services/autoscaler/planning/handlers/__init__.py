"""What is planned, when, and by what was learned."""
