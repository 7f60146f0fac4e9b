"""The leaderboard as data: rows that compare, with intervals, ties and flags, from what a run left on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attrobust.types import Flag, UsageError
from benchmark.audit import noise_beats_attack
from benchmark.statistics import Estimate, distinguishable, estimate
from benchmark.store import Booleans, Floats, Row, Store

ALL, COMMON = "all", "common"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is printed."""

    label: str
    higher_is_better: bool
    scale: float
    decimals: int

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
        legal: images whose attack obeyed the rules.
        best: whether it is the best of its group or tied with it.
        flags: reasons not to trust it.
    """

    estimate: Estimate | None
    legal: int = 0
    best: bool = False
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A network's entries in one group, one for each metric."""

    label: str
    seed: int | None
    sha256: str
    accuracy: Number
    numbers: tuple[Number, ...]


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
        accuracy: how clean accuracy is printed.
        metrics: the columns.
        groups: over all images first, then over those every network classifies correctly.
    """

    comparison: dict[str, Any]
    accuracy: Metric
    metrics: tuple[Metric, ...]
    groups: tuple[Group, ...]

    def subset(self, name: str) -> list[Group]:
        """The groups over one subset."""
        return [group for group in self.groups if group.subset == name]

    def notes(self) -> list[str]:
        """One line for every flag."""
        return [
            f"{line.label}, {group.explainer}, {group.attack}, {metric.label}: {flag.name}: {flag.reason}"
            for group in self.subset(ALL)
            for line in group.lines
            for metric, number in zip(self.metrics, line.numbers, strict=True)
            for flag in number.flags
        ]


def build(stores: Sequence[Store]) -> Leaderboard:
    """The leaderboard of one run, or of several with the same protocol, images and threat.

    Raises:
        UsageError: no run there, rows missing, or runs that do not compare.
    """
    parts = [_Part(store) for store in stores]
    first = parts[0]
    for part in parts[1:]:
        for key, value in first.plan["comparison"].items():
            if part.plan["comparison"].get(key) != value:
                raise UsageError(
                    f"{part.store.folder} does not compare with {first.store.folder}: {key} is "
                    f"{part.plan['comparison'].get(key)!r} against {value!r}"
                )
        for key in ("explainers", "attacks", "metrics"):
            if part.plan[key] != first.plan[key]:
                raise UsageError(f"{part.store.folder} has other {key} than {first.store.folder}")
    networks = [(part, position) for part in parts for position in range(len(part.plan["subjects"]))]
    correct = [part.correct(position) for part, position in networks]
    known = [hits for hits in correct if hits is not None]
    common = np.logical_and.reduce(known) if known else np.zeros(first.images, dtype=np.bool_)
    subsets = {ALL: np.ones(first.images, dtype=np.bool_), COMMON: common}
    groups = [
        _group(networks, name, mask, explainer, attack, first.metrics, first.noise)
        for name, mask in subsets.items()
        for explainer in first.plan["explainers"]
        for attack in (item["label"] for item in first.plan["attacks"])
    ]
    return Leaderboard(
        comparison=first.plan["comparison"],
        accuracy=Metric(label="accuracy (%)", higher_is_better=True, scale=100.0, decimals=1),
        metrics=tuple(first.metrics),
        groups=tuple(groups),
    )


class _Part:
    """One run read from disk."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plan = store.plan()
        self.images: int = self.plan["comparison"]["images"]
        self.metrics = [
            Metric(**{key: item[key] for key in ("label", "higher_is_better", "scale", "decimals")})
            for item in self.plan["metrics"]
        ]
        self.noise: str | None = next((item["label"] for item in self.plan["attacks"] if item["name"] == "noise"), None)
        rows = store.rows()
        self._rows: dict[tuple[int, str, str, str], Row] = {}
        for entry in self.plan["entries"]:
            if entry["row"] not in rows:
                raise UsageError(f"{store.folder}/rows.jsonl lacks a row of its plan; run the benchmark again")
            place = (entry["subject"], entry["explainer"], entry["attack"], entry["metric"])
            self._rows[place] = rows[entry["row"]]
        self._scores: dict[str, tuple[Floats, Booleans]] = {}

    def scores(self, subject: int, explainer: str, attack: str, metric: str) -> tuple[Floats, Booleans] | None:
        """Per-image scores and legality; None where the cell failed."""
        row = self._rows[subject, explainer, attack, metric]
        if row["status"] != "ok":
            return None
        if row["fingerprint"] not in self._scores:
            self._scores[row["fingerprint"]] = self.store.load_scores(row)
        return self._scores[row["fingerprint"]]

    def correct(self, subject: int) -> Booleans | None:
        """Which of the attacked images the network classifies correctly; None where that failed."""
        found = self.scores(subject, "", "", "accuracy")
        return None if found is None else found[0][: self.images] > 0.5


def _group(
    networks: Sequence[tuple[_Part, int]],
    subset: str,
    mask: Booleans,
    explainer: str,
    attack: str,
    metrics: Sequence[Metric],
    noise: str | None,
) -> Group:
    columns = []
    for metric in metrics:
        found = [part.scores(position, explainer, attack, metric.label) for part, position in networks]
        noises = [
            part.scores(position, explainer, noise, metric.label) if noise else None for part, position in networks
        ]
        columns.append(_column(found, noises if attack != noise else [None] * len(found), mask, metric))
    lines = []
    for index, (part, position) in enumerate(networks):
        subject = part.plan["subjects"][position]
        accuracy = part.scores(position, "", "", "accuracy")
        lines.append(
            Line(
                label=subject["label"],
                seed=subject["seed"],
                sha256=subject["sha256"],
                accuracy=Number(estimate=estimate(accuracy[0]) if accuracy else None),
                numbers=tuple(column[index] for column in columns),
            )
        )
    return Group(subset=subset, images=int(mask.sum()), explainer=explainer, attack=attack, lines=tuple(lines))


def _column(
    found: Sequence[tuple[Floats, Booleans] | None],
    noises: Sequence[tuple[Floats, Booleans] | None],
    mask: Booleans,
    metric: Metric,
) -> list[Number]:
    """One metric of every network in a group, the best and its ties marked."""
    scores = [None if item is None else item[0][mask] for item in found]
    estimates = [None if values is None else estimate(values) for values in scores]
    sign = 1 if metric.higher_is_better else -1
    ranked = [
        (sign * item.mean, values)
        for item, values in zip(estimates, scores, strict=True)
        if item is not None and values is not None and item.defined
    ]
    leader = max(ranked, key=lambda pair: pair[0])[1] if len(ranked) > 1 else None
    numbers = []
    for item, noise, values, summary in zip(found, noises, scores, estimates, strict=True):
        if item is None or values is None or summary is None:
            numbers.append(Number(estimate=None))
            continue
        flag = noise and noise_beats_attack(values, noise[0][mask], higher_is_better=metric.higher_is_better)
        best = leader is not None and summary.defined > 0 and not distinguishable(values, leader)
        numbers.append(
            Number(estimate=summary, legal=int(item[1][mask].sum()), best=best, flags=(flag,) if flag else ())
        )
    return numbers
