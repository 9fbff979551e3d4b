"""How a task is found, and when what is known of it may be answered."""
