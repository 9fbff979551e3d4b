"""What operators ask of the autoscaler."""
