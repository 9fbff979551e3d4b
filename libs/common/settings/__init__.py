"""Settings: from their definition to flags, environment, JSON file and help."""
