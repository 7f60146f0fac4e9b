"""What a leaderboard is made of: groups of rows that compare, with intervals, ties and flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attrobust.types import Flag
from benchmark.choice import Choice
from benchmark.statistics import Estimate

ALL, COMMON = "all", "common"
"""Subsets of the images: every one, or those that every evaluated network classifies correctly."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is printed.

    Attributes:
        label: as typed; unique in a run.
        title: what a header says.
        higher_is_better: whether a larger value means that maps held still.
        scale, decimals: a value is printed times ``scale`` with so many digits after the point.
        attack: for accuracy, the attack it is measured under; empty where that is none, or the group's.
    """

    label: str
    title: str
    higher_is_better: bool
    scale: float
    decimals: int
    attack: str = ""

    def text(self, value: float) -> str:
        """The digits every table shows for a value; empty where it is undefined."""
        if np.isnan(value):
            return ""
        shown = f"{value * self.scale:.{self.decimals}f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown


@dataclass(frozen=True, kw_only=True)
class Number:
    """One entry of a table.

    Attributes:
        estimate: mean and interval; None where the cell failed.
        legal: images whose attack obeyed the rules; None for clean accuracy.
        best: whether it is the best of its group or tied with it.
        flags: reasons not to trust it.
    """

    estimate: Estimate | None
    legal: int | None = None
    best: bool = False
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A network's entries in one group, one for each metric.

    Attributes:
        label, seed: what the network is called.
        sha256: of its weights.
        key: fingerprint of the weights and of everything else that makes it the network it is.
        accuracies, numbers: its entries.
        flags: of the network and the explainer, which ``numbers`` have too.
    """

    label: str
    seed: int | None
    sha256: str
    key: str
    accuracies: tuple[Number, ...]
    numbers: tuple[Number, ...]
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that compare: one explainer under one attack, over one subset of the images."""

    subset: str
    images: int
    explainer: str
    attack: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything a table says.

    Attributes:
        comparison: what all rows share: protocol, dataset, threat and so on.
        accuracies: how clean accuracy is printed and, where it was measured, that under attack.
        metrics: the columns.
        groups: over all images first, then over those every network classifies correctly.
        choices: how rows were chosen on the validation split.
        audited: whether every network and explainer was tried out for flags.
    """

    comparison: dict[str, Any]
    accuracies: tuple[Metric, ...]
    metrics: tuple[Metric, ...]
    groups: tuple[Group, ...]
    choices: tuple[Choice, ...] = ()
    audited: bool = True

    def subset(self, name: str) -> list[Group]:
        """The groups over one subset."""
        return [group for group in self.groups if group.subset == name]

    def notes(self) -> list[str]:
        """One line for every flag, and for every cell in which attacks broke the rules, over all images."""
        found = []
        for line in self.groups[0].lines:
            for metric, number in zip(self.accuracies, line.accuracies, strict=True):
                if number.estimate and number.legal is not None and number.legal < number.estimate.n:
                    found.append(_broken(f"{line.label}, {metric.attack}", number.legal, number.estimate.n))
        for group in self.subset(ALL):
            for line in group.lines:
                where = f"{line.label}, {group.explainer}, {group.attack}"
                legal = next((number.legal for number in line.numbers if number.legal is not None), group.images)
                if legal < group.images:
                    found.append(_broken(where, legal, group.images))
                for metric, number in zip(self.metrics, line.numbers, strict=True):
                    own = [flag for flag in number.flags if flag not in line.flags]
                    found += [f"{where}, {metric.title}: {flag.name}: {flag.reason}" for flag in own]
                found += [f"{line.label}, {group.explainer}: {flag.name}: {flag.reason}" for flag in line.flags]
        # A network and an explainer have the same flags under every attack.
        return list(dict.fromkeys(found))


def _broken(where: str, legal: int, images: int) -> str:
    return f"{where}: {images - legal} of {images} attacks were not legal and count as no attack"
