"""What operators do with tenants and tokens, decided."""
