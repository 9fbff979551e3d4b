"""Who waits, who is served, and what is told of the others. Pure."""
