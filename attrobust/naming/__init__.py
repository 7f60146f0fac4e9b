"""Names and settings: the registry, the syntax of specs, and how a spec becomes a dataclass."""
