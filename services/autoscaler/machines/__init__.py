"""Carries machines through their life, and compares them with what the provider has."""
