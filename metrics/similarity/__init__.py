"""Similarity metrics: comparisons of the clean and the attacked image's maps."""
