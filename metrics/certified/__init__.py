"""Certified metrics: bounds that hold for every perturbation within a radius."""
