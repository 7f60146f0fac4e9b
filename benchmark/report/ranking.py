"""Which rows of a table compete, and where each stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.report.cells import Scored
from attrobust.benchmark.report.records import Network
from attrobust.benchmark.statistics import Column

Method = tuple[int, ...]
"""Positions of the networks that one method trained, one for each seed."""


def methods_of(networks: Sequence[Network]) -> list[Method]:
    """What is ranked: networks that differ only in the training seed together, others alone, no sanity-check baseline.

    Args:
        networks: all rows of a table.
    """
    named: dict[str, list[int]] = {}
    for index, network in enumerate(networks):
        if not network.baseline:
            named.setdefault(network.method, []).append(index)
    methods: list[Method] = []
    for members in named.values():
        seeds = {networks[index].subject.seed for index in members}
        methods += [tuple(members)] if len(seeds) == len(members) else [(index,) for index in members]
    return methods


def competing(networks: Sequence[Network], methods: Sequence[Method]) -> list[Method]:
    """The methods that have ranks: none of their networks is at chance."""
    return [method for method in methods if not any(networks[index].chance for index in method)]


def column(methods: Sequence[Method], scores: Sequence[Scored | None], higher_is_better: bool) -> Column:
    """One column of a table, for ``statistics.Comparison``.

    Args:
        methods: see ``methods_of``.
        scores: of all networks; None where a cell failed.
        higher_is_better: of the column.
    """
    return Column(
        rows=[_together([scores[index] for index in method]) for method in methods], higher_is_better=higher_is_better
    )


def _together(found: Sequence[Scored | None]) -> Floats | None:
    """Scores of all seeds, S×N; None where one of them failed."""
    values = [scored.values for scored in found if scored is not None]
    return np.stack(values) if len(values) == len(found) else None
