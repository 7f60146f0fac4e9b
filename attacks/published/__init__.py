"""The steps of the official codes, which ``variant=paper`` takes."""
