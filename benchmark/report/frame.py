"""Runs as pandas tables: one line per number as in ``leaderboard.csv``, and one per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame

from attrobust.benchmark.report.csv import (
    CONTESTED_BY,
    DETAILS,
    PLACE,
    ROW,
    SHARED,
    VALUES,
    names_as_they_are,
    shared_and_row,
)
from attrobust.benchmark.report.leaderboard import places_of, read, worst_places
from attrobust.benchmark.report.records import Network, Run, Stored
from attrobust.benchmark.report.shards import IncompleteError
from attrobust.benchmark.report.sweeps import Together, boards_of, by_table, together
from attrobust.benchmark.report.table import COMMON, Leaderboard, Metric
from attrobust.benchmark.report.words import header
from attrobust.benchmark.report.worst import worst_stored
from attrobust.types import UsageError

TABLE, PART = "table", "part"
"""Columns: what tells a table of a sweep from the others, and a part of a protocol."""
COLUMNS = [TABLE, *SHARED, PART, *ROW, *PLACE, *VALUES, *DETAILS, CONTESTED_BY]
SCORE_ROW = ["method", "seed", "checkpoint", "baseline"]
SCORE_COLUMNS = [
    *(TABLE, "dataset", "model", "norm", "eps", PART, *SCORE_ROW, *PLACE),
    *("higher_is_better", "image", "score", "feasible", "common"),
]
WHOLE = ("seed", "epochs", "images", "undefined", "feasible", "seeds", "rank")
REAL = (
    "eps",
    "training_passes",
    "mean",
    "ci_low",
    "ci_high",
    "seed_error",
    "worst",
    "worst_5_percent",
    "median",
    "best_5_percent",
)
TRUTH = ("baseline", "higher_is_better", "best")


def results(*runs: str | Path) -> DataFrame:
    """Every number of a run, a sweep or a board, as a tidy pandas table.

    A line is a network (or a method over its training seeds), an explainer, an attack, a metric and a subset of the
    images. Columns and numbers are those of ``leaderboard.csv``, with its digits and in its units, and ``table``, which
    tells the tables of a sweep apart and is empty where there is one. Whole numbers that may be missing are ``Int64``,
    texts are never missing but may be empty.

    Args:
        runs: one folder of a run, sweep or board; several make one table, as in ``run_benchmark.py report``.

    Raises:
        UsageError: no folder, no run in it, an unfinished one, or runs that do not compare.

    Example::

        frame = attrobust.results("results/runs/quick")
        frame[frame.best & (frame.subset == "all")]
    """
    records: dict[str, list[str]] = {column: [] for column in COLUMNS}
    for board in _boards(_groups(runs)):
        for line in csv.DictReader(io.StringIO(names_as_they_are(board))):
            for column, values in records.items():
                values.append(board.where if column == TABLE else line.get(column, ""))
    return DataFrame({column: _typed(column, values) for column, values in records.items()})


def scores(*runs: str | Path) -> DataFrame:
    """The score of every image behind the numbers of a run, a sweep or a board, as a tidy pandas table.

    The mean of ``score`` over the lines of a number, those without a score left out, is the ``mean`` of ``results``
    before it is rounded; over those with ``common`` it is that of the subset ``common``. ``image`` counts from 0 in the
    test split; the attacked images are its first. ``feasible`` says whether the attack obeyed the rules. Cells that
    failed have no lines.

    Args:
        runs: see ``results``.

    Raises:
        UsageError: see ``results``; or the scores of a row are missing or are not those it was written with.
    """
    groups = _groups(runs)
    boards = {board.where: board for board in _boards(groups)}
    blocks = [block for where, members in by_table(groups).items() for block in _blocks(boards[where], members)]
    texts = dict.fromkeys((TABLE, "dataset", "model", "norm", PART, "method", "checkpoint", *PLACE), "category")
    frame = pd.concat(blocks, ignore_index=True) if blocks else DataFrame(columns=SCORE_COLUMNS)
    return frame.astype({**texts, "seed": "Int64"})[SCORE_COLUMNS]


def _groups(runs: Sequence[str | Path]) -> list[Together]:
    if not runs:
        raise UsageError("name the folder of a run, e.g. results/runs/quick")
    return together([Path(run) for run in runs])


def _boards(groups: Sequence[Together]) -> list[Leaderboard]:
    """The tables of runs, with the intervals that the runs ask for."""
    finished = [store for group in groups for store in group.stores if store.is_finished]
    try:
        return boards_of(groups, finished[0].plan().interval if finished else "percentile")
    except IncompleteError as error:
        raise UsageError(str(error)) from error


def _typed(column: str, values: list[str]) -> pd.Series:
    """Texts of a column with its type; an empty one is a missing number."""
    if column in WHOLE:
        return pd.Series([int(text) if text else pd.NA for text in values], dtype="Int64")
    if column in REAL:
        return pd.Series([float(text or "nan") for text in values], dtype="float64")
    if column in TRUTH:
        return pd.Series([text == "True" for text in values], dtype="bool")
    return pd.Series(values, dtype="str")


def _blocks(board: Leaderboard, members: Sequence[Together]) -> Iterator[DataFrame]:
    """The scores of every cell of a table."""
    runs, networks, subsets = read([store for group in members for store in group.stores])
    common = subsets[COMMON]
    lines = {line.key: line for line in board.groups[0].lines}
    columns = [*_accuracies(runs[0]), *_cells(runs[0])]
    for network in networks:
        row = {TABLE: board.where, **shared_and_row(lines[network.subject.key], board)}
        row = {key: value for key, value in row.items() if key in SCORE_COLUMNS and key != "seed"}
        for metric, others, facts in columns:
            stored = _stored(network, runs[0], metric, facts)
            if stored is None:
                continue
            count = len(stored.scores)
            known = np.zeros(count, dtype=np.bool_)
            if metric.scope != "training":
                known[: len(common)] = common
            yield DataFrame(
                {
                    **{key: [value] * count for key, value in (row | facts).items()},
                    "seed": pd.array([network.subject.seed] * count, dtype="Int64"),
                    "metric": header(metric, others),
                    "higher_is_better": metric.higher_is_better,
                    "image": np.arange(count),
                    "score": stored.scores * metric.scale,
                    "feasible": stored.feasible,
                    "common": known,
                }
            )


def _stored(network: Network, run: Run, metric: Metric, facts: dict[str, str]) -> Stored | None:
    if facts["scope"] == "worst":
        return worst_stored(network, facts["explainer"], [attack.label for attack in run.plan.attacks], metric)
    return network.stored_at(facts["explainer"], facts["attack"], metric.label)


Column = tuple[Metric, Sequence[Metric], dict[str, str]]
"""A column of a table: its metric, those beside it, and where it stands."""


def _accuracies(run: Run) -> Iterator[Column]:
    for metric in run.accuracies:
        yield metric, run.accuracies, {"scope": "", "explainer": "", "attack": metric.attack}


def _cells(run: Run) -> Iterator[Column]:
    for place in [*worst_places(run), *places_of(run)]:
        metrics = run.of("attack" if place.scope == "worst" else place.scope)
        for metric in metrics:
            yield metric, metrics, {"scope": place.scope, "explainer": place.explainer, "attack": place.attack}
