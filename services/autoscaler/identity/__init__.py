"""What outlives every machine: the ids and keys by which machines are ours, and whether the autoscaler is paused."""
