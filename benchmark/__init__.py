"""The harness: the only place that knows all four axes."""
