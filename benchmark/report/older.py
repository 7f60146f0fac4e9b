"""Tables as older versions wrote them: they said neither how networks were trained nor of which model each one is."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

from attrobust.benchmark.report.table import Group, Leaderboard
from attrobust.benchmark.report.training import Origin
from attrobust.benchmark.store.upgrade import in_older_words

NEW_COLUMNS = ("epochs", "recipe", "norm", "eps", "training_passes")
"""Of CSV tables."""


def older_tables(render: Callable[[Leaderboard], str], board: Leaderboard) -> tuple[str, str]:
    """A table as it was written beside schema 3, and beside schema 2."""
    origin = Origin(model=board.comparison.model, training=None, checkpoint="", facts={})
    table = render(replace(board, groups=tuple(_with(group, origin) for group in board.groups), worst=()))
    if table.startswith("protocol,"):
        table = _without_columns(table)
    return table, in_older_words(table)


def _with(group: Group, origin: Origin) -> Group:
    """A group without what older versions did not say: how networks were trained, and ranks of accuracies."""
    lines, means = [], []
    for line in group.lines:
        accuracies = tuple(replace(number, rank=None) for number in line.accuracies)
        lines.append(replace(line, origin=origin, accuracies=accuracies))
    for mean in group.means:
        means.append(replace(mean, origin=origin, accuracies=tuple(replace(own, rank=None) for own in mean.accuracies)))
    return replace(group, lines=tuple(lines), means=tuple(means))


def _without_columns(table: str) -> str:
    header, *rows = csv.reader(io.StringIO(table))
    kept = [index for index, name in enumerate(header) if name not in NEW_COLUMNS]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([row[index] for index in kept] for row in (header, *rows))
    return buffer.getvalue()
