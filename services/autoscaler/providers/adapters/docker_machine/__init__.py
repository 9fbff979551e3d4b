"""docker-machine: the original's way to rent machines."""
