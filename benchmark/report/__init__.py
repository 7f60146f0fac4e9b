"""Rows to tables: nothing here imports a model or torch."""
