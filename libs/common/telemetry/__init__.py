"""How every service logs, counts and traces."""
