"""Weights: shipped, trained by a run, or brought by a user."""
