"""CSV: one line per number, tidy, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from attrobust.benchmark.report.table import ALL, Leaderboard, Line, Mean, Metric, Number
from attrobust.benchmark.report.words import header, method_name
from attrobust.benchmark.statistics import OverSeeds

SHARED = ["protocol", "dataset", "model", "threat", "interval"]
PLACE = ["subset", "method", "seed", "checkpoint", "control", "scope", "explainer", "attack", "metric"]
VALUES = ["higher_is_better", "images", "undefined", "legal", "mean", "ci_low", "ci_high", "seeds", "seed_error"]
DETAILS = ["worst", "worst_5_percent", "median", "best_5_percent", "rank", "best", "flags", "status"]


def render(board: Leaderboard) -> str:
    """The whole leaderboard, with the digits of the other tables; ``rows.jsonl`` has all of them.

    A row over training seeds has no seed, their number in ``seeds`` and no interval over images.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [*SHARED, *PLACE, *VALUES, *DETAILS]
    writer.writerow(columns)
    shared = {**{key: board.comparison[key] for key in SHARED[:-1]}, "interval": board.interval}
    for values in _records(board):
        writer.writerow([(shared | values).get(column, "") for column in columns])
    return buffer.getvalue()


def _records(board: Leaderboard) -> Iterator[dict[str, object]]:
    first = board.groups[0]
    for line in first.lines:
        for metric, number in zip(board.accuracies, line.accuracies, strict=True):
            place = {"subset": ALL, "attack": metric.attack}
            yield _line(line, first.lines) | place | _number(metric, number, board.accuracies)
    for mean in first.means:
        for metric, value in zip(board.accuracies, mean.accuracies, strict=True):
            place = {"subset": ALL, "attack": metric.attack}
            yield _mean(mean, first.lines) | place | _over_seeds(metric, value, None, board.accuracies)
    for group in board.groups:
        place = {"subset": group.subset, "scope": group.scope, "explainer": group.explainer, "attack": group.attack}
        for line in group.lines:
            for metric, number in zip(group.metrics, line.numbers, strict=True):
                yield _line(line, first.lines) | place | _number(metric, number, group.metrics)
        for mean in group.means:
            for metric, value, rank in zip(group.metrics, mean.numbers, mean.ranks, strict=True):
                yield _mean(mean, first.lines) | place | _over_seeds(metric, value, rank, group.metrics)


def _line(line: Line, lines: Sequence[Line]) -> dict[str, object]:
    seed = "" if line.seed is None else line.seed
    return {"method": method_name(line, lines), "seed": seed, "checkpoint": line.sha256[:12], "control": line.control}


def _mean(mean: Mean, lines: Sequence[Line]) -> dict[str, object]:
    return {"method": method_name(mean, lines), "control": False}


def _number(metric: Metric, number: Number, others: Sequence[Metric]) -> dict[str, object]:
    named = {"metric": header(metric, others), "higher_is_better": metric.higher_is_better, "best": number.best}
    estimate, found = number.estimate, number.spread
    if estimate is None:
        return named | {"status": "failed"}
    spread = () if found is None else (found.worst, found.tail, found.median, found.best)
    return {
        **named,
        "images": estimate.n,
        "undefined": estimate.n - estimate.defined,
        "legal": "" if number.legal is None else number.legal,
        "mean": metric.text(estimate.mean),
        "ci_low": metric.text(estimate.low),
        "ci_high": metric.text(estimate.high),
        **dict(zip(DETAILS, map(metric.text, spread), strict=False)),
        "rank": "" if number.rank is None else number.rank,
        "flags": " ".join(flag.name for flag in number.flags),
        "status": "ok",
    }


def _over_seeds(
    metric: Metric, value: OverSeeds | None, rank: int | None, others: Sequence[Metric]
) -> dict[str, object]:
    named = {"metric": header(metric, others), "higher_is_better": metric.higher_is_better, "best": rank == 1}
    if value is None:
        return named | {"status": "failed"}
    return {
        **named,
        "mean": metric.text(value.mean),
        "seeds": value.count,
        "seed_error": metric.text(value.error, digits=1),
        "rank": "" if rank is None else rank,
        "status": "ok",
    }
