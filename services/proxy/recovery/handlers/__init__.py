"""What happens when records are lost, or older than what was done."""
