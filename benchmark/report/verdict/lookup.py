"""Where the rows of a leaderboard stand in its groups, and what flags they have: tables may have thousands."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Mean
from attrobust.benchmark.statistics import Estimate, OverSeeds

Item = Line | Mean
"""A row that stands for a method."""
Place = tuple[Group, int]
"""A group, and a position among its metrics."""


class Found:
    """Looks up the rows of a leaderboard.

    Attributes:
        board: as given.
        accuracy: its accuracies as a group.
        items: methods in the order of the table, those of several seeds together; baselines where there are no others.
    """

    def __init__(self, board: Leaderboard) -> None:
        self.board, self.accuracy = board, board.accuracy
        self._rows: dict[int, dict[str, Item]] = {}
        self._sorted: dict[tuple[int, int], list[float]] = {}
        first = board.groups[0]
        together = {mean.method: mean for mean in first.means}
        lines = [line for line in first.lines if not line.baseline] or first.lines
        chosen = [together.get(line.method, line) for line in lines]
        self.items = [*{_key(item): item for item in chosen}.values()]
        self._flags: dict[str, dict[str, None]] = {}
        for group in (*board.worst, *board.subset(ALL)):
            for line in group.lines:
                names = [flag.name for flag in line.flags]
                names += [flag.name for number in (*line.accuracies, *line.numbers) for flag in number.flags]
                for key in (line.key, line.method):
                    self._flags.setdefault(key, {}).update(dict.fromkeys(names))

    def row(self, group: Group, item: Item) -> Item:
        """The row of a method in a group."""
        if id(group) not in self._rows:
            rows: tuple[Item, ...] = (*group.lines, *group.means)
            self._rows[id(group)] = {_key(row): row for row in rows}
        return self._rows[id(group)][_key(item)]

    def rank(self, item: Item, place: Place) -> int | None:
        """The rank of a method in a column."""
        group, position = place
        return self.row(group, item).numbers[position].rank

    def order(self, item: Item, places: Sequence[Place]) -> tuple[float, float]:
        """What orders methods that are unbeaten equally often, the least first.

        It is the sum of all ranks, infinite where one is missing, and for equal ones, which no test tells apart, the
        number of times that the mean of another method is better.
        """
        known = [self.rank(item, place) for place in places]
        behind = sum(bisect.bisect_left(self._means(place), -self._mean(item, place)) for place in places)
        return sum(math.inf if rank is None else rank for rank in known), behind

    def _means(self, place: Place) -> list[float]:
        """The means of all methods in a column, negated, the best first."""
        key = (id(place[0]), place[1])
        if key not in self._sorted:
            self._sorted[key] = sorted(-self._mean(item, place) for item in self.items)
        return self._sorted[key]

    def _mean(self, item: Item, place: Place) -> float:
        """A method's mean in a column, negative where lower ones are better; least where there is none."""
        group, position = place
        value: Estimate | OverSeeds | None
        row, sign = self.row(group, item), 1 if group.metrics[position].higher_is_better else -1
        value = row.numbers[position].value if isinstance(row, Mean) else row.numbers[position].estimate
        return -math.inf if value is None or math.isnan(value.mean) else sign * value.mean

    def flags(self, item: Item) -> tuple[str, ...]:
        """Names of all flags of a method, in the order of the tables."""
        return tuple(self._flags.get(item.method if isinstance(item, Mean) else item.key, ()))


def _key(item: Item) -> str:
    return f"mean {item.method}" if isinstance(item, Mean) else item.key
