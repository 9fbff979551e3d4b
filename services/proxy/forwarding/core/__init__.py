"""What forwarding decides."""
