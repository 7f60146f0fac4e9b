"""What carries an attack out: descents, step control, feasibility."""
