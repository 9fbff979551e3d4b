"""Boot logs: what machines say while they boot, kept for operators."""
