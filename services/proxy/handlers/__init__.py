"""What happens in the proxy, in order: load, decide, do, tell."""
