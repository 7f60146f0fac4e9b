"""What per-image scores say together: intervals, spreads, and which rows can be told apart; no torch."""

from attrobust.benchmark.statistics.chance import at_chance
from attrobust.benchmark.statistics.comparison import Column, Comparison, Tested, compare, tested
from attrobust.benchmark.statistics.intervals import Estimate, estimate, estimates, wilson
from attrobust.benchmark.statistics.seeds import OverSeeds, over_seeds
from attrobust.benchmark.statistics.spread import Spread, shares, spread, spreads

__all__ = [
    "Column",
    "Comparison",
    "Estimate",
    "OverSeeds",
    "Spread",
    "Tested",
    "at_chance",
    "compare",
    "estimate",
    "estimates",
    "over_seeds",
    "shares",
    "spread",
    "spreads",
    "tested",
    "wilson",
]
