"""Recovery: what is done when records are lost, or are older than what was done."""
