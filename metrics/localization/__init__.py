"""Localization metrics: whether a map lies on the object."""
