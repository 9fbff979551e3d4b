"""Answers those who ask for slots, and tells users why their tasks wait."""
