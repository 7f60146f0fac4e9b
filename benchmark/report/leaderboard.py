"""From what runs left on disk to a leaderboard: subsets, intervals, ties and flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attrobust.spec import fingerprint
from attrobust.types import Flag, UsageError
from benchmark.audit.comparison import beaten, yardsticks
from benchmark.choice import Choice
from benchmark.report.table import ALL, COMMON, Group, Leaderboard, Line, Metric, Number
from benchmark.statistics import distinguishable, estimate
from benchmark.store import Booleans, Floats, Row, Store

FEWEST = 5
"""Images that rows must have in common to be ranked."""
UNREADABLE = ("accuracy_attack", "attacks", "code", "data_sha256", "explainers")
"""Facts of a comparison that are too long to quote."""


ACCURACY = Metric(label="accuracy", title="accuracy (%)", higher_is_better=True, scale=100.0, decimals=1)


def build(stores: Sequence[Store]) -> Leaderboard:
    """The leaderboard of one run, or of several with the same protocol, images, threat, columns and code.

    A network that several runs evaluated stands in it once.

    Raises:
        UsageError: no run there, rows missing, or runs that do not compare.
    """
    parts = [_Part(store) for store in stores]
    first = parts[0]
    for part in parts[1:]:
        part.check_comparable(first)
    networks: dict[str, tuple[_Part, int]] = {}
    for part in parts:
        for position, subject in enumerate(part.plan["subjects"]):
            networks.setdefault(fingerprint(subject), (part, position))
    rows = [_Network(part, position) for part, position in networks.values()]
    known = [row.correct for row in rows if row.correct is not None]
    common = np.logical_and.reduce(known) if known else np.zeros(first.images, dtype=np.bool_)
    subsets = {ALL: np.ones(first.images, dtype=np.bool_), COMMON: common}
    groups = [
        _group(rows, first, name, mask, explainer, attack)
        for name, mask in subsets.items()
        for explainer in first.plan["explainers"]
        for attack in (item["label"] for item in first.plan["attacks"])
    ]
    choices = {fingerprint(choice): Choice.read(choice) for part in parts for choice in part.plan.get("choices", [])}
    return Leaderboard(
        comparison=first.plan["comparison"],
        accuracies=tuple(first.accuracies),
        metrics=tuple(first.metrics),
        groups=tuple(groups),
        choices=tuple(choices.values()),
        audited=all(row.audited for row in rows),
    )


def _metric(facts: Row, attack: str = "") -> Metric:
    """From the facts that a run records."""
    known = {key: facts[key] for key in ("label", "title", "higher_is_better", "scale", "decimals")}
    return Metric(**known, attack=attack)


class _Part:
    """One run read from disk."""

    def __init__(self, store: Store) -> None:
        self.plan = store.plan()
        self.images: int = self.plan["comparison"]["images"]
        self.metrics = [_metric(item) for item in self.plan["metrics"]]
        self.accuracies = [ACCURACY]
        if robust := self.plan.get("accuracy_attack"):
            self.accuracies.append(_metric(robust["metric"], attack=robust["label"]))
        self.yardsticks = {item["label"]: yardsticks(item, self.plan["attacks"]) for item in self.plan["attacks"]}
        self._store = store
        rows = store.rows()
        self._rows: dict[tuple[int, str, str, str], Row] = {}
        for entry in self.plan["entries"]:
            if entry["row"] not in rows:
                raise UsageError(f"{store.folder}/rows.jsonl lacks a row of its plan; run the benchmark again")
            place = (entry["subject"], entry["explainer"], entry["attack"], entry["metric"])
            self._rows[place] = rows[entry["row"]]
        self._scores: dict[str, tuple[Floats, Booleans]] = {}

    def check_comparable(self, other: _Part) -> None:
        """Raise UsageError where a number of this run would not mean what it means in the other."""
        mine, theirs = self.plan["comparison"], other.plan["comparison"]
        for key in sorted({*mine, *theirs}):
            if mine.get(key) == theirs.get(key):
                continue
            values = f": {mine.get(key)} against {theirs.get(key)}" if key not in UNREADABLE else ""
            raise UsageError(f"{self._store.folder} does not compare with {other._store.folder}: other {key}{values}")
        for key in ("explainers", "attacks", "metrics"):
            if self.plan[key] != other.plan[key]:
                raise UsageError(f"{self._store.folder} has other {key} than {other._store.folder}")

    def row(self, subject: int, explainer: str, attack: str, metric: str) -> Row:
        """The row that stands at a place of the table."""
        row = self._rows.get((subject, explainer, attack, metric))
        if row is None:
            raise UsageError(f"{self._store.folder}/run.json lacks an entry of its table; run the benchmark again")
        return row

    def scores(self, subject: int, explainer: str, attack: str, metric: str) -> tuple[Floats, Booleans] | None:
        """Per-image scores and legality; None where the cell failed."""
        row = self.row(subject, explainer, attack, metric)
        if row["status"] != "ok":
            return None
        if row["fingerprint"] not in self._scores:
            self._scores[row["fingerprint"]] = self._store.load_scores(row)
        return self._scores[row["fingerprint"]]


class _Network:
    """One network of a run, with its clean accuracy."""

    def __init__(self, part: _Part, position: int) -> None:
        self._part, self._position = part, position
        self.subject: dict[str, Any] = part.plan["subjects"][position]
        found = part.scores(position, "", "", ACCURACY.label)
        self.correct: Booleans | None = None if found is None else found[0][: part.images] > 0.5
        clean = Number(estimate=None if found is None else estimate(found[0]))
        self.accuracies = (clean, *(self._accuracy(metric) for metric in part.accuracies[1:]))

    @property
    def audited(self) -> bool:
        """Whether all of its explainers were tried out, where anything was measured of them."""
        plan, name = self._part.plan, self._part.metrics[0].label
        labels = [attack["label"] for attack in plan["attacks"]]
        return all(
            any("audit" in row or row["status"] != "ok" for row in rows)
            for explainer in plan["explainers"]
            if (rows := [self._part.row(self._position, explainer, label, name) for label in labels])
        )

    def scores(self, explainer: str, attack: str, metric: str) -> tuple[Floats, Booleans] | None:
        """Per-image scores and legality; None where the cell failed."""
        return self._part.scores(self._position, explainer, attack, metric)

    def is_own_donor(self, explainer: str, attack: str) -> bool:
        """Whether the other network that an attack follows is this one."""
        cell = self._part.row(self._position, explainer, attack, self._part.metrics[0].label)["cell"]
        donor: str = cell.get("donor_sha256", "")
        return donor != "" and donor == cell["checkpoint_sha256"]

    def flags(self, explainer: str, attack: str) -> tuple[Flag, ...]:
        """What the audit found, told by the rows of every metric; the same of each attack on the explanation."""
        rows = [self._part.row(self._position, explainer, attack, metric.label) for metric in self._part.metrics]
        return tuple(dict.fromkeys(Flag(**flag) for row in rows for flag in row.get("flags", [])))

    def _accuracy(self, metric: Metric) -> Number:
        """Accuracy under an attack, over all attacked images."""
        found = self.scores("", metric.attack, metric.label)
        return (
            Number(estimate=None) if found is None else Number(estimate=estimate(found[0]), legal=int(found[1].sum()))
        )


def _group(
    networks: Sequence[_Network], part: _Part, subset: str, mask: Booleans, explainer: str, attack: str
) -> Group:
    columns, audits = [], [network.flags(explainer, attack) for network in networks]
    for metric in part.metrics:
        found = [_masked(network.scores(explainer, attack, metric.label), mask) for network in networks]
        flags = [
            [*audit, *_beaten(network, item, part.yardsticks[attack], explainer, metric, mask)]
            for network, audit, item in zip(networks, audits, found, strict=True)
        ]
        columns.append(_column(found, flags, metric))
    lines = [
        Line(
            label=network.subject["label"],
            seed=network.subject["seed"],
            sha256=network.subject["sha256"],
            key=fingerprint(network.subject),
            accuracies=network.accuracies,
            numbers=tuple(column[index] for column in columns),
            flags=audits[index],
        )
        for index, network in enumerate(networks)
    ]
    return Group(subset=subset, images=int(mask.sum()), explainer=explainer, attack=attack, lines=tuple(lines))


def _masked(found: tuple[Floats, Booleans] | None, mask: Booleans) -> tuple[Floats, Booleans] | None:
    return None if found is None else (found[0][mask], found[1][mask])


def _beaten(
    network: _Network,
    found: tuple[Floats, Booleans] | None,
    others: Sequence[tuple[str, str]],
    explainer: str,
    metric: Metric,
    mask: Booleans,
) -> list[Flag]:
    """A flag for each kind of attack, of name and label, of which one does as much to the scores as what was found."""
    flags: dict[str, Flag] = {}
    for name, label in others:
        other = _masked(network.scores(explainer, label, metric.label), mask)
        if found is None or other is None or network.is_own_donor(explainer, label):
            continue
        flag = beaten(found[0], other[0], name, higher_is_better=metric.higher_is_better)
        if flag is not None:
            flags.setdefault(name, flag)
    return list(flags.values())


def _column(
    found: Sequence[tuple[Floats, Booleans] | None], flags: Sequence[Sequence[Flag]], metric: Metric
) -> list[Number]:
    """One metric of every network in a group, the best and its ties marked."""
    best = _best([None if item is None else item[0] for item in found], higher_is_better=metric.higher_is_better)
    return [
        Number(estimate=None)
        if item is None
        else Number(estimate=estimate(item[0]), legal=int(item[1].sum()), best=is_best, flags=tuple(raised))
        for item, raised, is_best in zip(found, flags, best, strict=True)
    ]


def _best(scores: Sequence[Floats | None], *, higher_is_better: bool) -> list[bool]:
    """Which rows are the best or not distinguishable from it.

    Rows are ranked on the images on which all of them are defined; a row that is undefined on more than half of the
    images is not ranked. Nothing is marked for a single row or on fewer than FEWEST common images.
    """
    ranked = {i: row for i, row in enumerate(scores) if row is not None and 2 * np.isfinite(row).sum() >= len(row) > 0}
    shared = np.logical_and.reduce([np.isfinite(row) for row in ranked.values()]) if ranked else np.zeros(0, np.bool_)
    if len(ranked) < 2 or shared.sum() < FEWEST:
        return [False] * len(scores)
    sign = 1 if higher_is_better else -1
    leader = max(ranked, key=lambda i: sign * float(ranked[i][shared].mean()))
    return [
        i in ranked and (i == leader or not distinguishable(ranked[i][shared], ranked[leader][shared]))
        for i in range(len(scores))
    ]
