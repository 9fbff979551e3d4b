"""What proxies report of attempts, and what becomes of those that nobody reports."""
