"""Which waiting task gets which slot, and why one gets none."""
