"""What networks learn from images changed in the order of a map."""
