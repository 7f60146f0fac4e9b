"""Figures of runs: each a function from a DataFrame, see ``report.frame``, to a matplotlib Figure."""

from attrobust.benchmark.figures.agreement import agreement
from attrobust.benchmark.figures.attacks import attacks
from attrobust.benchmark.figures.cost import cost
from attrobust.benchmark.figures.distributions import distributions
from attrobust.benchmark.figures.insertion_deletion import insertion_deletion
from attrobust.benchmark.figures.pareto import pareto, pareto_front
from attrobust.benchmark.figures.radii import radii
from attrobust.benchmark.figures.style import save
from attrobust.benchmark.figures.training_cost import with_training_passes

__all__ = [
    "agreement",
    "attacks",
    "cost",
    "distributions",
    "insertion_deletion",
    "pareto",
    "pareto_front",
    "radii",
    "save",
    "with_training_passes",
]
