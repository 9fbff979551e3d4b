"""What is known of nodes and proxies, in memory: who is there, what is free, which node comes first. Pure."""
