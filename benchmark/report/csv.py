"""CSV: one line per number, tidy, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io

from benchmark.report.leaderboard import Group, Leaderboard, Line, Metric, Number

COLUMNS = [
    *("protocol", "dataset", "model", "threat", "subset", "method", "seed", "checkpoint", "explainer", "attack"),
    *(
        "metric",
        "higher_is_better",
        "images",
        "undefined",
        "legal",
        "mean",
        "ci_low",
        "ci_high",
        "best",
        "flags",
        "status",
    ),
]


def render(board: Leaderboard) -> str:
    """The whole leaderboard, with the digits of the other tables; ``rows.jsonl`` has all of them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in board.groups[0].lines:
        group = Group(subset="all", images=0, explainer="", attack="", lines=())
        writer.writerow(_record(board, group, line, board.accuracy, line.accuracy))
    for group in board.groups:
        for line in group.lines:
            for metric, number in zip(board.metrics, line.numbers, strict=True):
                writer.writerow(_record(board, group, line, metric, number))
    return buffer.getvalue()


def _record(board: Leaderboard, group: Group, line: Line, metric: Metric, number: Number) -> list[object]:
    facts = board.comparison
    shared = [facts["protocol"], facts["dataset"], facts["model"], facts["threat"], group.subset, line.label]
    seed = "" if line.seed is None else line.seed
    place = [seed, line.sha256[:12], group.explainer, group.attack, metric.label, metric.higher_is_better]
    estimate = number.estimate
    if estimate is None:
        return [*shared, *place, group.images, "", "", "", "", "", False, "", "failed"]
    values = [metric.text(value) for value in (estimate.mean, estimate.low, estimate.high)]
    flags = " ".join(flag.name for flag in number.flags)
    legal = number.legal if group.attack else ""
    return [*shared, *place, estimate.n, estimate.n - estimate.defined, legal, *values, number.best, flags, "ok"]
