"""Code shared by the losses of several methods."""
