"""Whether a map says what the network uses."""
