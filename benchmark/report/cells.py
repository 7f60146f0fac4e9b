"""The scores of one group of a table, read once for all subsets of the images."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Booleans, Floats
from attrobust.benchmark.report.records import Network, Place
from attrobust.benchmark.report.table import Metric


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What was stored of a cell, for some of its images.

    Attributes:
        values: scores of these images.
        feasible: whether the attack on each obeyed the rules.
    """

    values: Floats
    feasible: Booleans

    @functools.cached_property
    def mean(self) -> float:
        """Of all scores; NaN where one of them is."""
        return float(self.values.mean()) if len(self.values) else float("nan")


Scores = Sequence[Sequence[Scored | None]]
"""For every metric what was stored of each network; None where a cell failed."""


class Cells:
    """What was stored of all networks in one place of a table.

    Args:
        networks: the rows of the table.
        place: one group of it.
        metrics: the columns of the group.
    """

    def __init__(self, networks: Sequence[Network], place: Place, metrics: Sequence[Metric]) -> None:
        def load(network: Network) -> list[tuple[Floats, Booleans] | None]:
            return [network.scores(place, metric) for metric in metrics]

        self._is_anew = place.scope == "training"
        self._found = list(threads().map(load, networks))

    def over(self, mask: Booleans) -> Scores:
        """The scores of the images that a mask keeps; of networks that were trained anew those of all images."""
        every = self._is_anew or bool(mask.all())
        kept = slice(None) if every else np.flatnonzero(mask)
        by_network = [
            [None if pair is None else Scored(values=pair[0][kept], feasible=pair[1][kept]) for pair in row]
            for row in self._found
        ]
        return list(zip(*by_network, strict=True))


@functools.cache
def threads() -> ThreadPoolExecutor:
    """As many as there are cores: hashing, inflating and arithmetic on arrays keep no other thread waiting."""
    return ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None)
