"""Curvature metrics: second derivatives of the network with respect to its input."""
