"""Fakes for tests: a bus in one process, a clock that is turned by hand, and what can go wrong on the way."""
