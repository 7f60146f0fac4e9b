"""Code shared by explainers: chunks, noise, masks, segments."""
