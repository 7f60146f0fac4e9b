"""Complexity metrics: how sparse a map is."""
