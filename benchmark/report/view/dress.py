"""Other names and other digits for what a table shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.table import Group, Leaderboard, Line, Mean, Metric
from attrobust.benchmark.report.view.names import unknown
from attrobust.benchmark.report.view.rename import KINDS, Renamed, renamed, with_unit
from attrobust.benchmark.report.view.selection import HELD_APART, accuracy_key, known_of
from attrobust.naming.lists import refuse_empty
from attrobust.numbers import parse_whole
from attrobust.types import UsageError

MOST_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Dress:
    """Other names and digits, as typed.

    Attributes:
        rename: ``OLD=NEW``, or ``KIND:OLD=NEW``, of rows, explainers, attacks and metrics.
        digits: after the decimal point, ``N`` of all columns and ``COLUMN=N`` of one, separated by commas.
    """

    rename: tuple[str, ...] = ()
    digits: str = ""

    def on(self, boards: Sequence[Leaderboard], where: str) -> list[Leaderboard]:
        """Tables with them; ``where`` they are, in words.

        Raises:
            UsageError: something is named that no table has, or digits are no number from 0 to 9.
        """
        if not (self.rename or self.digits):
            return [*boards]
        known = [known_of(board.stores) for board in boards]
        columns = {name for one in known for name in one.columns}
        exact = {kind: {name for one in known for name in one.exact[axis]} for kind, axis in KINDS.items()}
        names = renamed(self.rename, exact, where)
        digits = _digits(self.digits, columns, where)
        return [_Dressing(board, names, digits).board() for board in boards]


class _Dressing:
    """One table with other names and digits.

    Args:
        board: as it was built.
        names: new ones by old ones.
        digits: by the name of a column, or by the empty name of all.
    """

    def __init__(self, board: Leaderboard, names: Renamed, digits: Mapping[str, int]) -> None:
        self._board = board
        known = known_of(board.stores)
        self._rows, self._explainers, self._attacks, self._columns = (
            names.of(kind, known.exact[axis]) for kind, axis in KINDS.items()
        )
        self._digits = {label: count for name, count in digits.items() for label in known.columns.get(name, ())}
        self._of_all = digits.get("")
        self._labels = {line.label: self._rows[line.key] for line in board.groups[0].lines if line.key in self._rows}

    def board(self) -> Leaderboard:
        """The table."""
        accuracies = tuple(self._metric(metric, accuracy_key(metric)) for metric in self._board.accuracies)
        groups, worst = tuple(map(self._group, self._board.groups)), tuple(map(self._group, self._board.worst))
        return replace(self._board, accuracies=accuracies, groups=groups, worst=worst)

    def _group(self, group: Group) -> Group:
        return replace(
            group,
            explainer=self._explainers.get(group.explainer, group.explainer),
            attack=self._attacks.get(group.attack, group.attack),
            typed=group.address,
            metrics=tuple(self._metric(metric, metric.label) for metric in group.metrics),
            lines=tuple(replace(line, label=self._label(line)) for line in group.lines),
            means=tuple(replace(mean, label=self._label(mean)) for mean in group.means),
        )

    def _metric(self, metric: Metric, key: str) -> Metric:
        return replace(
            metric,
            title=with_unit(self._columns[key], metric.title) if key in self._columns else metric.title,
            decimals=self._digits.get(key, metric.decimals if self._of_all is None else self._of_all),
        )

    def _label(self, item: Line | Mean) -> str:
        """The new name of a row; a sanity-check baseline is of a network that may have one."""
        if isinstance(item, Line) and item.key in self._rows:
            return self._rows[item.key]
        kind, apart, network = item.label.partition(HELD_APART)
        if isinstance(item, Line) and item.baseline and apart:
            return f"{kind}{apart}{self._labels.get(network, network)}"
        return self._labels.get(item.label, item.label)


def _digits(text: str, columns: Collection[str], where: str) -> dict[str, int]:
    """Digits by the name of a column; those of all others by the empty name."""
    found: dict[str, int] = {}
    if text:
        refuse_empty(text, "--digits")
    for item in text.split(",") if text else ():
        name, _, count = item.rpartition("=")
        if name and name.strip() not in columns:
            raise unknown(name.strip(), columns, "--digits", where)
        try:
            digits = parse_whole(count)
        except ValueError:
            digits = -1
        if not 0 <= digits <= MOST_DIGITS:
            raise UsageError(f"--digits {text!r}: {item!r} is not N or COLUMN=N, with N from 0 to {MOST_DIGITS}")
        found[name.strip()] = digits
    return found
