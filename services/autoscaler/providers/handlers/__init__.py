"""What is done with providers beside renting machines for tasks."""
