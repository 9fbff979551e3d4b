"""What the autoscaler decides, in pure functions: no await, no clock, no log."""
