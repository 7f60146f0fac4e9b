"""A run: what is to be done, what is done already, and the rows that result."""
