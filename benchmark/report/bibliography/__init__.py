"""The papers of methods, attacks, explainers and metrics, as BibTeX."""
