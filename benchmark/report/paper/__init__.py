"""The LaTeX of a table: what stands where, how wide and how high it is, and how it is cut to fit a page."""
