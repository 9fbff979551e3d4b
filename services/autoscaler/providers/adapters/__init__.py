"""The vendors, one module or folder each, over a shared HTTP client."""
