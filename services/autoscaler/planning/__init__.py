"""What to create, drain and destroy: the loop, and the plan that it follows."""
