"""The plan, in pure functions."""
