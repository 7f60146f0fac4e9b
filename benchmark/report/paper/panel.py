"""What a LaTeX table shows: blocks of a leaderboard, beside each other or below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.paper.entry import Entry, plain
from attrobust.benchmark.report.paper.numbers import Marked, over_seeds, single
from attrobust.benchmark.report.table import Group, Leaderboard, Metric, beside
from attrobust.benchmark.report.words import header, mean_name, name

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
    """The metrics of a group."""

    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]


def sections_below(boards: Sequence[Leaderboard], subset: str) -> list[Section]:
    """The blocks of tables over a subset of the images below each other."""
    return [
        Section(title=block.title, corner=CORNER, heads=_heads(block), rows=block.rows)
        for block in _blocks(boards, subset)
    ]


def section_beside(board: Leaderboard, subset: str) -> Section:
    """The blocks of one table over a subset of the images beside each other; rows that one lacks are empty."""
    blocks = _blocks([board], subset)
    heads = tuple(replace(head, span=block.title) for block in blocks for head in _heads(block))
    cells = [({row.name: row.cells for row in block.rows}, ((),) * len(block.metrics)) for block in blocks]
    rows = tuple(
        Row(name=shown, cells=tuple(cell for known, none in cells for cell in known.get(shown, none)))
        for shown in (row.name for row in max((block.rows for block in blocks), key=len))
    )
    return Section(title="", corner=CORNER, heads=heads, rows=rows)


def sections_transposed(boards: Sequence[Leaderboard], subset: str) -> list[Section]:
    """The blocks below each other, with methods as columns and metrics as rows."""
    return [
        transposed(section, [_titled(metric, block.metrics) for metric in block.metrics])
        for block, section in zip(_blocks(boards, subset), sections_below(boards, subset), strict=True)
    ]


def transposed(section: Section, names: Sequence[str]) -> Section:
    """A section with its rows as columns; ``names`` are those of its columns."""
    heads = tuple(Head(upper="", lower=row.name) for row in section.rows)
    cells = zip(*(row.cells for row in section.rows), strict=True)
    rows = [Row(name=shown, cells=tuple(numbers)) for shown, numbers in zip(names, cells, strict=True)]
    return Section(title=section.title, corner=METRIC, heads=heads, rows=tuple(rows))


def _blocks(boards: Sequence[Leaderboard], subset: str) -> list[_Block]:
    """All blocks in the order of the tables, accuracies first."""
    blocks = []
    for board, group in beside(boards, subset):
        rows = tuple(Row(name=shown, cells=cells) for shown, cells in _numbers(board, group))
        blocks.append(_Block(title=board.title(group), metrics=group.metrics, rows=rows))
    return blocks


def _heads(block: _Block) -> tuple[Head, ...]:
    return tuple(head_of(_titled(metric, block.metrics)) for metric in block.metrics)


def head_of(title: str, span: str = "") -> Head:
    """A title in two lines where it has a unit: ``top-10%`` above ``(%) ↑``."""
    words, bracket, unit = title.rpartition(" (")
    return Head(upper=words, lower=f"({unit}" if bracket else title, span=span)


def _titled(metric: Metric, others: Sequence[Metric]) -> str:
    return f"{header(metric, others)} {ARROWS[metric.higher_is_better]}"


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
            over_seeds(metric, number, Marked.of(number.rank, second))
            for metric, number, second in zip(group.metrics, mean.numbers, seconds, strict=True)
        ]
        rows.append((mean_name(mean, board), tuple(cells)))
    return rows


def _second(group: Group, column: int) -> int | None:
    """The next rank after the best in a column."""
    ranks = [line.numbers[column].rank for line in group.lines] + [mean.numbers[column].rank for mean in group.means]
    return min((rank for rank in ranks if rank is not None and rank > 1), default=None)


def title_of(text: str) -> Entry:
    """What is written above a block."""
    return plain(text, "italic")
