"""Randomisation metrics: whether a map changes with the network's parameters and with the explained class."""
