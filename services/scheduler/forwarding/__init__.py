"""What proxies report while they send a task to its node, and what became of an attempt that nobody reports."""
