"""The verdict for a terminal: as wide as that is, at most 100 columns."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.columns import columns_of
from attrobust.benchmark.report.verdict.legend import reading
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import Verdict, verdict_of, with_verdict
from attrobust.naming.safe import line as safe

WIDEST, NARROWEST = 100, 40
"""Columns that a block may have, whatever the terminal has."""
GAP = "  "
NAME, SHORTEST = 24, 8
"""Characters that names may be wrapped to before a column is moved to another block, and at last."""
HEADS = (18, 10)
"""Characters that the lines of a head may have, the first where there is room; or as many as numbers have."""
UNBROKEN = "\N{NO-BREAK SPACE}"
PERCENT = re.compile(r"(?<=\d) %")
ARROWS = {True: "↑", False: "↓"}


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A column as text.

    Attributes:
        head: its lines.
        cells: one for each row.
        kind: see ``Told``.
    """

    head: tuple[str, ...]
    cells: tuple[str, ...]
    kind: str

    @property
    def width(self) -> int:
        """Of the column."""
        return max(map(len, (*self.head, *self.cells)))


def verdicts(boards: Sequence[Leaderboard], columns: int) -> list[str]:
    """The lines of the verdict of each leaderboard, and how to read them.

    Args:
        boards: one, or several that cannot be pooled, at least one with a verdict.
        columns: of the terminal.
    """
    width = max(NARROWEST, min(WIDEST, columns))
    boards = with_verdict(boards)
    found = [verdict_of(board) for board in boards]
    lines: list[str] = []
    for verdict in found:
        if lines:
            lines.append("")
        if verdict.where:
            lines += [*wrapped(f"== {verdict.where}", width)]
        lines += [*wrapped(sentence(verdict), width), "", *block(verdict, width)]
    return [*lines, "", *wrapped(reading(boards, found), width)]


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most so many characters; words stay whole where they fit."""
    kept = PERCENT.sub(UNBROKEN + "%", safe(text))
    return [line.replace(UNBROKEN, " ") for line in textwrap.wrap(kept, width, break_on_hyphens=False)] or [""]


def block(verdict: Verdict, width: int) -> list[str]:
    """The table, or several below each other where one does not fit.

    Heads are made narrower first, then intervals are left out, long names wrapped, and columns put into further tables.
    """
    names = [safe(row.name) for row in verdict.rows]
    longest = max(map(len, (*names, "method")))
    for interval, least, head in ((i, n, h) for i, n in ((True, longest), (False, min(longest, NAME))) for h in HEADS):
        columns = _columns(verdict, head, interval=interval)
        left = width - sum(len(GAP) + column.width for column in columns)
        if left >= least:
            return _table(names, min(longest, left), columns)
    return _stacked(names, columns, width)


def _stacked(names: Sequence[str], columns: Sequence[Printed], width: int) -> list[str]:
    """Tables below each other; columns of one kind stay together where they fit."""
    longest, widest = max(map(len, (*names, "method"))), max(column.width for column in columns)
    name = max(SHORTEST, min(longest, width // 3, width - len(GAP) - widest))
    tables: list[list[Printed]] = [[]]
    for _, group in itertools.groupby(columns, key=lambda column: column.kind):
        together = [*group]
        if tables[-1] and not _fits(name, [*tables[-1], *together], width):
            tables.append([])
        for column in together:
            if tables[-1] and not _fits(name, [*tables[-1], column], width):
                tables.append([])
            tables[-1].append(column)
    lines: list[str] = []
    for table in tables:
        lines += [*([""] if lines else []), *_table(names, name, table)]
    return lines


def _fits(name: int, columns: Sequence[Printed], width: int) -> bool:
    return name + sum(len(GAP) + column.width for column in columns) <= width


def _columns(verdict: Verdict, head: int, *, interval: bool) -> list[Printed]:
    """All columns, with heads of so many characters or as many as numbers have."""
    found = []
    for column in columns_of(verdict):
        cells = [cell if isinstance(cell, str) else cell.text(interval=interval) for cell in column.cells]
        width = max(head, *map(len, cells))
        words = [UNBROKEN.join(map(safe, column.title(ARROWS, UNBROKEN).split(UNBROKEN))), *map(safe, column.words[1:])]
        lines = [line.replace(UNBROKEN, " ") for part in words for line in textwrap.wrap(part, width)]
        found.append(Printed(head=tuple(lines), cells=tuple(cells), kind=column.kind))
    return found


def _table(names: Sequence[str], name: int, columns: Sequence[Printed]) -> list[str]:
    """Lines of a table; a long name goes on below its numbers, a head stands at the bottom of its lines."""
    height = max(len(column.head) for column in columns)
    widths = [name, *(column.width for column in columns)]
    heads = [("",) * (height - len(column.head)) + column.head for column in columns]
    lines = [_line([left, *row], widths) for left, *row in zip(("",) * (height - 1) + ("method",), *heads, strict=True)]
    for index, text in enumerate(names):
        first, *rest = textwrap.wrap(text, name, subsequent_indent=" ") or [""]
        lines += [_line([first, *(column.cells[index] for column in columns)], widths), *rest]
    return lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return GAP.join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip()
