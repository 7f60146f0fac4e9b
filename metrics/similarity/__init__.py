"""How alike two maps of an image are."""
