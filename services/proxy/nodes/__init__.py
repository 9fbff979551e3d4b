"""The nodes, asked while a client waits."""
