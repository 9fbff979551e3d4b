"""What a service says of its own state: whether it is ready, what it measures, which settings count."""
