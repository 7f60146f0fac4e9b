"""CSV: one line per number, tidy, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io

from benchmark.report.table import ALL, Group, Leaderboard, Line, Metric, Number
from benchmark.report.words import header

SHARED = ["protocol", "dataset", "model", "threat"]
PLACE = ["subset", "method", "seed", "checkpoint", "explainer", "attack", "metric", "higher_is_better"]
VALUES = ["images", "undefined", "legal", "mean", "ci_low", "ci_high", "best", "flags", "status"]


def render(board: Leaderboard) -> str:
    """The whole leaderboard, with the digits of the other tables; ``rows.jsonl`` has all of them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*SHARED, *PLACE, *VALUES])
    shared = [board.comparison[key] for key in SHARED]
    for line in board.groups[0].lines:
        for metric, number in zip(board.accuracies, line.accuracies, strict=True):
            writer.writerow([*shared, *_place(board, None, line, metric), *_values(metric, number)])
    for group in board.groups:
        for line in group.lines:
            for metric, number in zip(board.metrics, line.numbers, strict=True):
                writer.writerow([*shared, *_place(board, group, line, metric), *_values(metric, number)])
    return buffer.getvalue()


def _place(board: Leaderboard, group: Group | None, line: Line, metric: Metric) -> list[object]:
    """Where a number stands; accuracy is of no group."""
    where = (ALL, "", metric.attack) if group is None else (group.subset, group.explainer, group.attack)
    seed = "" if line.seed is None else line.seed
    title = header(metric, board.metrics)
    return [where[0], line.label, seed, line.sha256[:12], where[1], where[2], title, metric.higher_is_better]


def _values(metric: Metric, number: Number) -> list[object]:
    estimate = number.estimate
    if estimate is None:
        return ["", "", "", "", "", "", False, "", "failed"]
    values = [metric.text(value) for value in (estimate.mean, estimate.low, estimate.high)]
    flags = " ".join(flag.name for flag in number.flags)
    legal = "" if number.legal is None else number.legal
    return [estimate.n, estimate.n - estimate.defined, legal, *values, number.best, flags, "ok"]
