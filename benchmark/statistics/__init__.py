"""What per-image scores say together: intervals, spreads, and which rows can be told apart; no torch."""

from attrobust.benchmark.statistics.chance import at_chance
from attrobust.benchmark.statistics.comparison import Column, Compared, Comparison, compare, compared
from attrobust.benchmark.statistics.intervals import Estimate, estimate, estimates, wilson
from attrobust.benchmark.statistics.seeds import OverSeeds, over_seeds
from attrobust.benchmark.statistics.spread import Spread, shares, spread, spreads

__all__ = [
    "Column",
    "Compared",
    "Comparison",
    "Estimate",
    "OverSeeds",
    "Spread",
    "at_chance",
    "compare",
    "compared",
    "estimate",
    "estimates",
    "over_seeds",
    "shares",
    "spread",
    "spreads",
    "wilson",
]
