"""What is the same for every vendor with an HTTP API."""
