"""Sensitivity metrics: change of a map under random perturbations."""
