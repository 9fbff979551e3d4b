"""How every service logs and counts."""
