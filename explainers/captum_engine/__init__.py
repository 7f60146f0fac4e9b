"""Captum's attribution classes with differentiable results, without changes to Captum."""
