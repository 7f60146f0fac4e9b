"""Checkpoints: shipped, trained by a run, or given by a user."""
