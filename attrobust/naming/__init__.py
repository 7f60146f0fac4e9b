"""Names and settings: what is registered, how it is typed, and the dataclass that results."""
