"""Everything a page shows, as JSON values: rows, columns and the number, with its evidence, of each pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from attrobust.arrays import Integers
from attrobust.benchmark.report.cards import readable_cards
from attrobust.benchmark.report.leaderboard import read
from attrobust.benchmark.report.page.evidence import (
    Evidence,
    Json,
    distribution,
    evidence_of,
    provenance,
    range_of,
    row_facts,
)
from attrobust.benchmark.report.page.networks import component, network_facts, total
from attrobust.benchmark.report.page.training import costs_of, training_column, training_numbers
from attrobust.benchmark.report.records import Network
from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Metric, Number, SeedNumber
from attrobust.benchmark.report.words import header, interval_text, mean_name, name
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.types import Flag

COSTS = (("passes", "passes per image"), ("seconds", "seconds"))
"""Of an attack, as a page shows them beside the metrics; a smaller one is better."""


@dataclass
class Payload:
    """What is collected, table by table.

    Attributes:
        methods: by kind and name of a row what each table says of it; a row of several tables stands there once.
        columns: of all tables.
        cells: for each row, by column, its number.
        flags, provenances: each distinct one, which numbers name by position.
    """

    methods: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    columns: list[Json] = field(default_factory=list)
    cells: dict[tuple[str, str], dict[int, Json]] = field(default_factory=dict)
    flags: dict[tuple[str, str], int] = field(default_factory=dict)
    provenances: dict[str, int] = field(default_factory=dict)

    def method(self, kind: str, shown: str, facts: Json) -> tuple[str, str]:
        """The key of a row, with what a table says of it added."""
        key = kind, shown
        networks = self.methods.setdefault(key, [])
        if facts not in networks:
            networks.append(facts)
        self.cells.setdefault(key, {})
        return key

    def flagged(self, flags: Sequence[Flag]) -> list[int]:
        """Positions of flags."""
        return [self.flags.setdefault((flag.name, flag.reason), len(self.flags)) for flag in flags]

    def behind(self, row: Row) -> Json:
        """What the row behind a number says, with the position of its provenance."""
        by = self.provenances.setdefault(provenance(row), len(self.provenances))
        return row_facts(row) | {"by": by}

    def as_json(self) -> Json:
        """All of it."""
        return {
            "methods": [
                {"kind": kind, "name": shown, "networks": networks} for (kind, shown), networks in self.methods.items()
            ],
            "columns": self.columns,
            "cells": [self.cells[key] for key in self.methods],
            "flags": [list(flag) for flag in self.flags],
            "provenances": [*self.provenances],
        }


def payload(boards: Sequence[Leaderboard]) -> Json:
    """Everything that the page of leaderboards shows.

    Raises:
        UsageError: rows or scores that are missing or damaged.
    """
    found = Payload()
    for board in boards:
        _add(found, board)
    return found.as_json()


def _add(found: Payload, board: Leaderboard) -> None:
    _, networks, masks = read(board.stores)
    by_key = {network.subject.key: network for network in networks}
    first, cards, costs = board.groups[0], readable_cards(board.stores), costs_of(board)
    keys = []
    for line in first.lines:
        told: Json = {"table": board.where, "facts": network_facts(line, by_key[line.key], cards, costs)}
        told |= {"flags": found.flagged(_network_flags(board, line)), "competes": not (line.baseline or line.chance)}
        keys.append(found.method("baseline" if line.baseline else "network", name(line, board), told))
    means = []
    for mean in first.means:
        over: Json = {"table": board.where, "facts": [], "flags": found.flagged(mean.chance)}
        over |= {"competes": not mean.chance}
        means.append(found.method("mean", mean_name(mean, board), over))
    ordered = [by_key[line.key] for line in first.lines]
    for index, metric in enumerate(board.accuracies):
        lines = [replace(line, numbers=(line.accuracies[index],)) for line in first.lines]
        averages = [replace(mean, numbers=(mean.accuracies[index],)) for mean in first.means]
        group = replace(first, subset="", explainer="", attack=metric.attack, typed=None, lines=tuple(lines))
        group = replace(group, metrics=(metric,), means=tuple(averages))
        _add_group(found, board, group, ordered, keys, means, np.zeros(0, dtype=np.intp))
    for key, cost in zip([*keys, *means], training_numbers(board, costs), strict=True) if costs else ():
        if cost:
            found.cells[key][len(found.columns)] = cost
    found.columns += [training_column(board)] if costs else []
    for group in filter(lambda group: group.metrics, board.groups):
        whole = group.subset == ALL or group.scope == "training"
        kept = np.zeros(0, dtype=np.intp) if whole else np.flatnonzero(masks[group.subset])
        if whole or len(kept):
            _add_group(found, board, group, ordered, keys, means, kept)


def _network_flags(board: Leaderboard, line: Line) -> list[Flag]:
    flags = [flag for group in board.groups for other in group.lines if other.key == line.key for flag in other.flags]
    return [*dict.fromkeys([*flags, *([line.chance] if line.chance else [])])]


def _add_group(
    found: Payload,
    board: Leaderboard,
    group: Group,
    networks: Sequence[Network],
    keys: Sequence[tuple[str, str]],
    means: Sequence[tuple[str, str]],
    kept: Integers,
) -> None:
    """Add the columns of a group, and behind those of an attack on maps what it cost."""
    column: Sequence[Evidence] = ()
    others = board.accuracies if group.metrics[0].scope == "accuracy" else group.metrics
    for index, metric in enumerate(group.metrics):
        column = evidence_of(networks, group.address, metric, kept)
        shown = range_of(column, metric)
        at = len(found.columns)
        found.columns.append(_column(board, group, metric, others, column[0].row, shown))
        for key, line, item in zip(keys, group.lines, column, strict=True):
            number = _number(found, metric, line.numbers[index]) | distribution(item, metric, shown)
            found.cells[key][at] = number | found.behind(item.row)
        for key, mean in zip(means, group.means, strict=True):
            found.cells[key][at] = _mean(found, metric, mean.numbers[index])
    if group.scope == "attack" and group.attack and group.explainer:
        for kind, title in COSTS:
            at = len(found.columns)
            found.columns.append(_cost_column(board, group, kind, title, column[0].row))
            for key, item in zip(keys, column, strict=True):
                if cost := _cost(kind, item):
                    found.cells[key][at] = cost | found.behind(item.row)


def _place(board: Leaderboard, group: Group) -> Json:
    threat = board.comparison.threat
    place: Json = {"table": board.where, "threat": threat, "subset": group.subset, "images": group.images}
    return place | {"explainer": group.explainer, "attack": group.attack}


def _settings(row: Row) -> list[list[str]]:
    """What was explained, attacked and measured, with all settings."""
    parts = [("explainer", row.cell.explainer), ("attack", row.cell.attack)]
    measured = component({"name": row.metric.name, "settings": row.metric.settings})
    return [[part, component(named)] for part, named in parts if named] + [["metric", measured]]


def _column(
    board: Leaderboard, group: Group, metric: Metric, others: Sequence[Metric], row: Row, shown: tuple[float, float]
) -> Json:
    accuracy = metric.scope == "accuracy"
    return {
        **_place(board, group),
        "kind": "accuracy" if accuracy else "score",
        "group": "accuracy" if accuracy else group.title,
        "metric": header(metric, others),
        "higher": metric.higher_is_better,
        "list": "the test split" if metric.scope == "training" else "the run's images",
        "range": [metric.text(value) for value in shown],
        "settings": _settings(row),
    }


def _cost_column(board: Leaderboard, group: Group, kind: str, title: str, row: Row) -> Json:
    place = _place(board, group) | {"kind": "cost", "group": group.title, "metric": title, "higher": False}
    return place | {"cost": kind, "range": [], "settings": _settings(row)[:2]}


def _cost(kind: str, item: Evidence) -> Json:
    """Passes for each image, or seconds of the attack and all metrics behind it; empty where the cell failed."""
    row = item.row
    if not isinstance(row, ScoredRow):
        return {}
    value = total(row.passes) / max(row.n, 1) if kind == "passes" else row.seconds
    return {"status": "ok", "text": f"{value:,.1f}", "value": _rounded(value)}


def _number(found: Payload, metric: Metric, number: Number) -> Json:
    said: Json = {}
    if number.flags:
        said["flags"] = found.flagged(number.flags)
    if number.contests:
        said["contests"] = [f"{contest.by}, stronger on {contest.improved} images" for contest in number.contests]
    estimate = number.estimate
    if estimate is None:
        return said | {"status": "failed"}
    said |= {"images": estimate.n, "undefined": estimate.n - estimate.defined, "feasible": number.feasible}
    if not estimate.defined:
        return said | {"status": "undefined"}
    said |= {"status": "ok", "text": metric.text(estimate.mean), "value": _rounded(estimate.mean * metric.scale)}
    said |= {"rank": number.rank}
    if interval := interval_text(metric, estimate, "small"):
        said["interval"] = interval
        said |= {"low": _rounded(estimate.low * metric.scale), "high": _rounded(estimate.high * metric.scale)}
    if spread := number.spread:
        said["spread"] = [metric.text(value) for value in (spread.worst, spread.tail, spread.median, spread.best)]
    return said


def _mean(found: Payload, metric: Metric, number: SeedNumber) -> Json:
    value = number.value
    if value is None:
        return {"status": "failed"}
    if math.isnan(value.mean):
        return {"status": "undefined"}
    said: Json = {"status": "ok", "text": metric.text(value.mean), "value": _rounded(value.mean * metric.scale)}
    said |= {"rank": number.rank, "seeds": value.count}
    if number.flags:
        said["flags"] = found.flagged(number.flags)
    if error := metric.width_text(value.error, 1):
        said["interval"] = f"± {error}"
        bounds = (value.mean - value.error, value.mean + value.error)
        said |= {key: _rounded(bound * metric.scale) for key, bound in zip(("low", "high"), bounds, strict=True)}
    return said


def _rounded(value: float) -> float | None:
    """To seven significant digits: bars and sorting need no more, and other machines may differ in the last."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
