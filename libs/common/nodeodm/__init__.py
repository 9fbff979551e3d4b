"""A client of NodeODM nodes, for everything that is small."""
