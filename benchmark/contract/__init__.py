"""The contracts of the six axes as lists of claims, each tried on real images: what ``check`` prints."""
