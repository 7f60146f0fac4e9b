"""The worst case over all attacks on an explainer: image by image the score that is worst for the network."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.report.cells import Cells
from attrobust.benchmark.report.records import Network, Stored
from attrobust.benchmark.report.table import Metric, Number
from attrobust.types import Flag, UsageError

BEATEN = "-beats-attack"
"""End of the name of a flag, behind the attack that another does not beat."""


def label_of(attacks: int) -> str:
    """What stands in the place of an attack."""
    return f"worst of {attacks} attacks"


def worse(first: Floats, second: Floats, *, higher_is_better: bool) -> Floats:
    """Per image the worse of two scores; one that is NaN or infinite counts only where the other is too, as NaN."""
    one, other = (np.where(np.isfinite(scores), scores, np.nan) for scores in (first, second))
    return np.fmin(one, other) if higher_is_better else np.fmax(one, other)


class Pool:
    """Takes in what was stored under one attack after the other, and holds the worst of it.

    Args:
        networks: the rows of the table.
        explainer: whose maps are attacked.
        metrics: the columns.
    """

    def __init__(self, networks: Sequence[Network], explainer: str, metrics: Sequence[Metric]) -> None:
        self._networks, self._explainer, self._metrics = networks, explainer, metrics
        self._rules: dict[int, object] = {}
        self.cells: Cells | None = None

    def add(self, attack: str, cells: Cells) -> None:
        """Take in an attack.

        Raises:
            UsageError: a network met it on other images, in another ball or by another criterion than one before.
        """
        for index, network in enumerate(self._networks):
            rules = _rules(network, self._explainer, attack, self._metrics[0])
            if self._rules.setdefault(index, rules) != rules:
                raise UsageError(
                    f"{network.folder}/run.json has attacks on other images, in another ball or by another criterion "
                    f"in one table ({self._explainer}, {attack}); run the benchmark again"
                )
        if self.cells is None:
            self.cells = cells
            return
        before = self.cells.found
        self.cells = Cells(
            [
                [_worse(one, other, metric) for one, other, metric in zip(*rows, self._metrics, strict=True)]
                for rows in zip(before, cells.found, strict=True)
            ]
        )


def worst_stored(network: Network, explainer: str, attacks: Sequence[str], metric: Metric) -> Stored | None:
    """What was stored of a network under the worst of some attacks; None where one of them failed."""
    found = [network.stored_at(explainer, attack, metric.label) for attack in attacks]
    return functools.reduce(lambda one, other: _worse(one, other, metric), found)


def _rules(network: Network, explainer: str, attack: str, metric: Metric) -> object:
    """What attacks must have in common for their scores to be pooled."""
    cell = network.row(explainer, attack, metric.label).cell
    return cell.images, cell.data_sha256, cell.label, sorted(cell.threat.items())


def _worse(one: Stored | None, other: Stored | None, metric: Metric) -> Stored | None:
    """Of two attacks; None where one of them failed, since the worst is not known then."""
    if one is None or other is None:
        return None
    return Stored(
        scores=worse(one.scores, other.scores, higher_is_better=metric.higher_is_better),
        feasible=one.feasible | other.feasible,
        estimate=None,
        contests=tuple(dict.fromkeys((*one.contests, *other.contests))),
    )


def beaten_throughout(under: Sequence[tuple[str, Number]]) -> tuple[Flag, ...]:
    """The flags of a worst case that noise, or transfer, beats: where it beats all other attacks.

    Else the worst case is that of an attack which did better.

    Args:
        under: attacks with what they left of one network in one metric.
    """
    known = {flag.name: flag for _, part in reversed(under) for flag in part.flags if flag.name.endswith(BEATEN)}
    return tuple(flag for name, flag in known.items() if _holds(name, under))


def _holds(name: str, under: Sequence[tuple[str, Number]]) -> bool:
    others = [part for attack, part in under if attack.partition(":")[0] != name.removesuffix(BEATEN)]
    return all(any(flag.name == name for flag in part.flags) for part in others)
