"""What a LaTeX table shows: blocks of a leaderboard, beside each other or below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.paper.entry import Entry, plain
from attrobust.benchmark.report.paper.numbers import Marked, over_seeds, single
from attrobust.benchmark.report.table import Group, Leaderboard, Metric, beside
from attrobust.benchmark.report.words import header, mean_name, name
from attrobust.benchmark.store.schema import SCOPES

CORNER, METRIC = "Method", "Metric"
ARROWS = {True: "↑", False: "↓"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """The title of a column, in two lines, and what it shares with its neighbours above."""

    upper: str
    lower: str
    span: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a block: its name and its cells."""

    name: str
    cells: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A block of rows with the same columns.

    Attributes:
        title: what it is about; empty where that is said elsewhere.
        corner: the title of the names.
        heads, rows: its columns and rows.
    """

    title: str
    corner: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]

    def continues(self, other: Section) -> bool:
        """Whether it has the same columns, so that they need no titles again."""
        return (self.corner, self.heads) == (other.corner, other.heads)

    def picked(self, columns: range) -> Section:
        """Some of its columns."""
        rows = tuple(replace(row, cells=row.cells[columns.start : columns.stop]) for row in self.rows)
        return replace(self, heads=self.heads[columns.start : columns.stop], rows=rows)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Some columns of a leaderboard: accuracies, or the metrics of a group."""

    board: Leaderboard
    title: str
    metrics: tuple[Metric, ...]
    others: tuple[Metric, ...]
    rows: tuple[Row, ...]


def sections_below(boards: Sequence[Leaderboard], subset: str, *, accuracies: bool) -> list[Section]:
    """The blocks of tables over a subset of the images below each other."""
    return [
        Section(title=block.title, corner=CORNER, heads=_heads(block), rows=block.rows)
        for block in _blocks(boards, subset, accuracies=accuracies)
    ]


def section_beside(board: Leaderboard, subset: str, *, accuracies: bool) -> Section:
    """The blocks of one table over a subset of the images beside each other; rows are the same in all."""
    blocks = _blocks([board], subset, accuracies=accuracies)
    heads = tuple(replace(head, span=block.title) for block in blocks for head in _heads(block))
    rows = tuple(
        Row(name=parts[0].name, cells=tuple(cell for row in parts for cell in row.cells))
        for parts in zip(*(block.rows for block in blocks), strict=True)
    )
    return Section(title="", corner=CORNER, heads=heads, rows=rows)


def sections_transposed(boards: Sequence[Leaderboard], subset: str, *, accuracies: bool) -> list[Section]:
    """The blocks below each other, with methods as columns and metrics as rows."""
    sections = []
    for block in _blocks(boards, subset, accuracies=accuracies):
        heads = tuple(Head(upper="", lower=row.name) for row in block.rows)
        cells = zip(*(row.cells for row in block.rows), strict=True)
        rows = [
            Row(name=_titled(metric, block.others), cells=tuple(numbers))
            for metric, numbers in zip(block.metrics, cells, strict=True)
        ]
        sections.append(Section(title=block.title, corner=METRIC, heads=heads, rows=tuple(rows)))
    return sections


def _blocks(boards: Sequence[Leaderboard], subset: str, *, accuracies: bool) -> list[_Block]:
    """All blocks, accuracies first; with them what was measured of the networks alone."""
    blocks = []
    for board in boards if accuracies else ():
        group = board.groups[0]
        rows = [Row(name=shown, cells=cells) for shown, cells in _accuracies(board, group)]
        if board.accuracies:
            metrics = board.accuracies
            blocks.append(_Block(board=board, title=board.where, metrics=metrics, others=metrics, rows=tuple(rows)))
    for scope in SCOPES:
        for board, group in beside(boards, subset, scope):
            rows = [Row(name=shown, cells=cells) for shown, cells in _numbers(board, group)]
            title = board.title(group)
            blocks.append(
                _Block(board=board, title=title, metrics=group.metrics, others=group.metrics, rows=tuple(rows))
            )
    return blocks


def _heads(block: _Block) -> tuple[Head, ...]:
    return tuple(_head(metric, block.others) for metric in block.metrics)


def _head(metric: Metric, others: Sequence[Metric]) -> Head:
    """A title in two lines where it has a unit: ``top-10%`` above ``(%) ↑``."""
    shown, arrow = header(metric, others), ARROWS[metric.higher_is_better]
    words, bracket, unit = shown.rpartition(" (")
    return Head(upper=words, lower=f"({unit} {arrow}") if bracket else Head(upper="", lower=f"{shown} {arrow}")


def _titled(metric: Metric, others: Sequence[Metric]) -> str:
    return f"{header(metric, others)} {ARROWS[metric.higher_is_better]}"


def _accuracies(board: Leaderboard, group: Group) -> list[tuple[str, tuple[Entry, ...]]]:
    """The accuracies of every row."""
    style, unmarked = board.style, Marked()
    rows = [
        (
            name(line, board),
            tuple(
                single(metric, number, style, unmarked)
                for metric, number in zip(board.accuracies, line.accuracies, strict=True)
            ),
        )
        for line in group.lines
    ]
    for mean in group.means:
        pairs = zip(board.accuracies, mean.accuracies, strict=True)
        rows.append(
            (mean_name(mean, board), tuple(over_seeds(metric, value, mean, unmarked) for metric, value in pairs))
        )
    return rows


def _numbers(board: Leaderboard, group: Group) -> list[tuple[str, tuple[Entry, ...]]]:
    """The numbers of every row of a group, with the best marked and, where the style says so, the second best."""
    style, rows = board.style, []
    seconds = [_second(group, column) if style.second else None for column in range(len(group.metrics))]
    for line in group.lines:
        cells = [
            single(metric, number, style, Marked.of(number.rank, second))
            for metric, number, second in zip(group.metrics, line.numbers, seconds, strict=True)
        ]
        rows.append((name(line, board), tuple(cells)))
    for mean in group.means:
        cells = [
            over_seeds(metric, value, mean, Marked.of(rank, second))
            for metric, value, rank, second in zip(group.metrics, mean.numbers, mean.ranks, seconds, strict=True)
        ]
        rows.append((mean_name(mean, board), tuple(cells)))
    return rows


def _second(group: Group, column: int) -> int | None:
    """The next rank after the best in a column."""
    ranks = [line.numbers[column].rank for line in group.lines] + [mean.ranks[column] for mean in group.means]
    return min((rank for rank in ranks if rank is not None and rank > 1), default=None)


def title_of(text: str) -> Entry:
    """What is written above a block."""
    return plain(text, "italic")
