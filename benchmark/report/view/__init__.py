"""Views: which part of a table is shown, and how its numbers are written."""
