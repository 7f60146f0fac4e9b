"""The scores of one group of a table, read once for all subsets of the images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.report.records import Network, Place, Stored
from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.statistics import Estimate
from attrobust.benchmark.store.rows import Contest


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What was stored of a cell, for some of its images.

    Attributes:
        values: scores of these images.
        feasible: whether the attack on each obeyed the rules.
        estimate: their mean and its percentile interval where the run computed it: over all images.
        contests: who contested them.
    """

    values: Floats
    feasible: Booleans
    estimate: Estimate | None = None
    contests: tuple[Contest, ...] = ()

    @functools.cached_property
    def mean(self) -> float:
        """Of all scores; NaN where one of them is."""
        return float(self.values.mean()) if len(self.values) else float("nan")


Scores = Sequence[Sequence[Scored | None]]
"""For every metric what was stored of each network; None where a cell failed."""


class Cells:
    """What was stored of all networks in one place of a table.

    Args:
        found: of every network for each metric; None where a cell failed.
        is_anew: whether it is of networks that were trained anew.

    Attributes:
        found: as given.
    """

    def __init__(self, found: Sequence[Sequence[Stored | None]], *, is_anew: bool = False) -> None:
        self.found, self._is_anew = found, is_anew
        self._over: dict[bytes, Scores] = {}

    @classmethod
    def read(cls, networks: Sequence[Network], place: Place, metrics: Sequence[Metric]) -> Self:
        """Read it.

        Args:
            networks: the rows of the table.
            place: one group of it.
            metrics: the columns of the group.
        """
        found = [[network.stored(place, metric) for metric in metrics] for network in networks]
        return cls(found, is_anew=place.scope == "training")

    def over(self, mask: Booleans) -> Scores:
        """The scores of the images that a mask keeps; of networks that were trained anew those of all images."""
        key = b"" if self._is_anew or mask.all() else mask.tobytes()
        if key not in self._over:
            kept = None if key == b"" else np.flatnonzero(mask)
            by_network = [[None if stored is None else _scored(stored, kept) for stored in row] for row in self.found]
            self._over[key] = list(zip(*by_network, strict=True))
        return self._over[key]


def _scored(stored: Stored, kept: Integers | None) -> Scored:
    if kept is None:
        estimate, contests = stored.estimate, stored.contests
        return Scored(values=stored.scores, feasible=stored.feasible, estimate=estimate, contests=contests)
    return Scored(values=stored.scores[kept], feasible=stored.feasible[kept], contests=stored.contests)
