"""The page behind its guard."""
