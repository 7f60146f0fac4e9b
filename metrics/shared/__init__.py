"""What several metrics share: the case they look at, rows of values, curves, derivatives."""
