"""Code shared by metrics: the case, rows of values, curves, derivatives, retraining."""
