"""What clients and nodes say of tasks, and what is kept of those that are over."""
