"""Scores of one cell."""
