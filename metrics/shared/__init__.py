"""Code shared by metrics: the case, logits, rows of values, curves, derivatives, retraining."""
