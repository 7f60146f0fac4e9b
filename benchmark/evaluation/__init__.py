"""Computes the scores of one cell."""
