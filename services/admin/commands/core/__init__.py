"""Commands and their answers, as values. Pure."""
