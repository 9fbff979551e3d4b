"""One request and its answer: heads, bodies, forms, and the words of NodeODM's interface."""
