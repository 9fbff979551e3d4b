"""Commands of operators, probes, drains, and failures."""
