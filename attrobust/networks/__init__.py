"""Networks: smoothed models, traced graphs, counted passes."""
