"""Whether a map lies on the object."""
