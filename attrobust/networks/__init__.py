"""Networks: copies without kinks, traced graphs, counted passes."""
