"""Machinery of attacks: descents, step control, smoothed models, feasibility."""
