"""Captum's classes made differentiable, Captum itself untouched."""
