"""The verdict as the page shows it, for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.columns import columns_of
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import Value, verdict_of, with_verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: a number, or words.
        beside: its interval; empty where there is none.
        rest: rank and marks behind it.
        best: whether its rank is 1.
    """

    text: str
    beside: str = ""
    rest: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """The verdict of a leaderboard.

    Attributes:
        where: what it is about; empty where it stands alone.
        sentence: who wins.
        head: titles of the columns.
        rows: each the name of a method, and its cells.
    """

    where: str
    sentence: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def sections(boards: Sequence[Leaderboard], arrows: dict[bool, str]) -> list[Section]:
    """One for each leaderboard that has a verdict."""
    found = []
    for verdict in map(verdict_of, with_verdict(boards)):
        columns = columns_of(verdict)
        cells = [[_cell(cell) for cell in column.cells] for column in columns]
        found.append(
            Section(
                where=verdict.where,
                sentence=sentence(verdict),
                head=tuple(column.head(arrows) for column in columns),
                rows=tuple((row.name, tuple(rest)) for row, *rest in zip(verdict.rows, *cells, strict=True)),
            )
        )
    return found


def _cell(cell: Value | str) -> Cell:
    if isinstance(cell, str):
        return Cell(text=cell)
    text, _, rest = cell.text(interval=False).partition(" ")
    return Cell(text=text, beside=cell.interval, rest=rest, best=cell.rank == 1)
