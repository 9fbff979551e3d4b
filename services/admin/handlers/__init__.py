"""What happens when an operator asks for something, in order: ask the owner of the fact, make an answer of it."""
