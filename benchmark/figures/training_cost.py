"""What the trainings of a run cost, in passes: from the recipes in its rows and what each method says of a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
from pandas import DataFrame, Series

from attrobust.benchmark.figures.cost import PASSES
from attrobust.benchmark.report.sweeps import together
from attrobust.benchmark.request.training_cost import training_passes
from attrobust.benchmark.store.rows import Row

DIGITS = 12
"""Of the sha256 of weights, as tables print it."""


def with_training_passes(frame: DataFrame, *runs: str | Path) -> DataFrame:
    """A frame with a column ``training_passes``: how often an image goes through its network while that is trained.

    It is epochs times the forward, backward and double-backward passes of a step, with those of the weights that a
    training went on from. It is missing where nothing is known of the training, or its method is a plug-in that is not
    loaded or does not state its cost. A method over its seeds has the mean of theirs.

    Args:
        frame: of ``attrobust.results(*runs)``.
        runs: its folders.

    Raises:
        UsageError: see ``attrobust.results``.
    """
    known: dict[str, float] = {}
    for group in together([Path(run) for run in runs]):
        for store in group.stores:
            known |= dict(_costs(store.rows().values()))
    own = Series(
        [known.get(str(item), float("nan")) for item in frame["checkpoint"]], index=frame.index, dtype="float64"
    )
    places = [frame["table"], frame["method"]]
    averaged = own[frame["checkpoint"] != ""].groupby([place[frame["checkpoint"] != ""] for place in places]).mean()
    keys = pd.MultiIndex.from_frame(frame[["table", "method"]])
    return frame.assign(**{PASSES: own.fillna(Series(averaged.reindex(keys).to_numpy(), index=frame.index))})


def _costs(rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """The digest of every network's weights with what its training cost, where that is known."""
    done: set[str] = set()
    for row in rows:
        digest, method = row.cell.checkpoint_sha256[:DIGITS], row.cell.subject.method
        if digest in done or row.trained is None or method is None:
            continue
        done.add(digest)
        found = training_passes(method, row.trained, row.cell.subject.images.classes)
        if found is not None:
            yield digest, found
