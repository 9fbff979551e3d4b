"""What every provider is told alike."""
