"""CSV: one line per number, tidy, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from attrobust.benchmark.report.entries import LineEntry, MeanEntry, entries
from attrobust.benchmark.report.table import ALL, Leaderboard, Line, Mean, Metric, Number
from attrobust.benchmark.report.words import any_contested, header, method_name
from attrobust.naming.safe import csv_cell
from attrobust.numbers import parse_number

SHARED = ["protocol", "dataset", "model", "threat", "norm", "eps", "interval"]
ROW = ["subset", "method", "seed", "checkpoint", "epochs", "recipe", "training_passes", "baseline"]
PLACE = ["scope", "explainer", "attack", "metric"]
VALUES = ["higher_is_better", "images", "undefined", "feasible", "mean", "ci_low", "ci_high", "seeds", "seed_error"]
CONTESTED_BY = "contested_by"
"""A column of tables in which a number is contested."""
DETAILS = ["worst", "worst_5_percent", "median", "best_5_percent", "rank", "best", "flags", "status"]


def render(*boards: Leaderboard) -> str:
    """One leaderboard or several, with the digits of the other tables; ``rows.jsonl`` has all of them.

    A row over training seeds has no seed, their number in ``seeds`` and no interval over images. Parts of a protocol
    are told apart in a column of their own. Names that a spreadsheet would compute have an apostrophe in front.
    """
    return _written(cells_of(boards), csv_cell)


def names_as_they_are(*boards: Leaderboard) -> str:
    """The same without apostrophes, for programs."""
    return _written(cells_of(boards), lambda cell: cell)


def _written(lines: Iterable[Sequence[object]], shown: Callable[[object], object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(map(shown, line) for line in lines)
    return buffer.getvalue()


def cells_of(boards: Sequence[Leaderboard]) -> Iterator[Sequence[object]]:
    """The titles of the columns, and the cells of every line."""
    parts = ["part"] if any(board.part for board in boards) else []
    contested = [CONTESTED_BY] if any_contested(boards) else []
    columns = [*SHARED, *parts, *ROW, *PLACE, *VALUES, *DETAILS, *contested]
    yield columns
    for board in boards:
        rows: dict[str, dict[str, object]] = {}
        for entry in entries(board):
            item = entry.mean if isinstance(entry, MeanEntry) else entry.line
            key = item.method if isinstance(item, Mean) else item.key
            if key not in rows:
                rows[key] = shared_and_row(item, board)
            values = rows[key] | _place(entry) | _values(entry, board)
            yield [values.get(column, "") for column in columns]


def _ball(threat: str) -> dict[str, object]:
    """Norm and radius of a threat as a plan has it, which somebody may have edited."""
    norm, _, eps = threat.partition(" ")
    try:
        return {"norm": norm, "eps": parse_number(eps)}
    except ValueError:
        return {}


def _place(entry: LineEntry | MeanEntry) -> dict[str, object]:
    group = entry.group
    if group is None:
        return {"subset": ALL, "attack": entry.metric.attack}
    return {"subset": group.subset, "scope": group.scope, "explainer": group.explainer, "attack": group.attack}


def shared_and_row(item: Line | Mean, board: Leaderboard) -> dict[str, object]:
    """What all numbers of a row say, by column; what all rows of its table say among it."""
    shared: dict[str, object] = {key: getattr(board.comparison, key) for key in ("protocol", "dataset", "threat")}
    shared |= {"interval": board.interval, "part": board.part, **_ball(board.comparison.threat)}
    return shared | _row(item, board)


def _row(item: Line | Mean, board: Leaderboard) -> dict[str, object]:
    origin = item.origin
    epochs = "" if origin.epochs is None else origin.epochs
    named = {"method": method_name(item, board, own=True), "baseline": False}
    passes = "" if item.passes is None else f"{item.passes:g}"
    named |= {"model": origin.model, "epochs": epochs, "recipe": origin.recipe, "training_passes": passes}
    if isinstance(item, Mean):
        return named
    seed = "" if item.seed is None else item.seed
    return named | {"seed": seed, "checkpoint": item.sha256[:12], "baseline": item.baseline}


def _values(entry: LineEntry | MeanEntry, board: Leaderboard) -> dict[str, object]:
    others = entry.group.metrics if entry.group else board.accuracies
    if isinstance(entry, MeanEntry):
        return _over_seeds(entry, others)
    return _number(entry.metric, entry.number, others)


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
        "feasible": "" if number.feasible is None else number.feasible,
        "mean": metric.text(estimate.mean),
        "ci_low": metric.text(estimate.low),
        "ci_high": metric.text(estimate.high),
        **dict(zip(DETAILS, map(metric.text, spread), strict=False)),
        "rank": "" if number.rank is None else number.rank,
        "flags": " ".join(flag.name for flag in number.flags),
        CONTESTED_BY: "; ".join(dict.fromkeys(contest.by for contest in number.contests)),
        "status": "ok",
    }


def _over_seeds(entry: MeanEntry, others: Sequence[Metric]) -> dict[str, object]:
    metric, number, value = entry.metric, entry.number, entry.number.value
    named = {"metric": header(metric, others), "higher_is_better": metric.higher_is_better, "best": number.rank == 1}
    if value is None:
        return named | {"status": "failed"}
    return {
        **named,
        "mean": metric.text(value.mean),
        "seeds": value.count,
        "seed_error": metric.text(value.error, digits=1),
        "rank": "" if number.rank is None else number.rank,
        "flags": " ".join(dict.fromkeys(flag.name for flag in number.flags)),
        "status": "ok",
    }
