"""Polling: how a task stands and what its console says, asked again and again."""
