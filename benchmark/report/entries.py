"""Every number of a leaderboard, in the order of all renderings, and the rows of a group as text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attrobust.benchmark.report.table import Group, Leaderboard, Line, Mean, Metric, Number, SeedNumber
from attrobust.benchmark.report.words import mean_name, name


@dataclass(frozen=True, kw_only=True)
class LineEntry:
    """A number of one network.

    Attributes:
        group: that it stands in; None for accuracy, which is the same in all.
        line: the network.
        metric, number: what was measured.
    """

    group: Group | None
    line: Line
    metric: Metric
    number: Number


@dataclass(frozen=True, kw_only=True)
class MeanEntry:
    """A number of a method over its training seeds.

    Attributes:
        group, metric: see ``LineEntry``.
        mean: the method.
        number: the number itself.
    """

    group: Group | None
    mean: Mean
    metric: Metric
    number: SeedNumber


def entries(board: Leaderboard) -> Iterator[LineEntry | MeanEntry]:
    """All numbers: accuracies first, worst cases, then group by group; networks before their means over seeds."""
    first = board.groups[0]
    for line in first.lines:
        for metric, number in zip(board.accuracies, line.accuracies, strict=True):
            yield LineEntry(group=None, line=line, metric=metric, number=number)
    for mean in first.means:
        for metric, over in zip(board.accuracies, mean.accuracies, strict=True):
            yield MeanEntry(group=None, mean=mean, metric=metric, number=over)
    for group in (*board.worst, *board.groups):
        for line in group.lines:
            for metric, number in zip(group.metrics, line.numbers, strict=True):
                yield LineEntry(group=group, line=line, metric=metric, number=number)
        for mean in group.means:
            for metric, over in zip(group.metrics, mean.numbers, strict=True):
                yield MeanEntry(group=group, mean=mean, metric=metric, number=over)


def printed_rows(
    board: Leaderboard,
    group: Group,
    number: Callable[[Metric, Number], str],
    over_seeds: Callable[[Metric, SeedNumber], str],
) -> list[list[str]]:
    """The rows of a group as text; the first cell of each is its name.

    Args:
        board, group: what is printed.
        number: how a number of one network is printed.
        over_seeds: how one of a method over training seeds is.
    """
    rows = []
    for line in group.lines:
        numbers = zip(group.metrics, line.numbers, strict=True)
        rows.append([name(line, board), *itertools.starmap(number, numbers)])
    for mean in group.means:
        over = zip(group.metrics, mean.numbers, strict=True)
        rows.append([mean_name(mean, board), *itertools.starmap(over_seeds, over)])
    return rows
