"""The verdict as blocks of LaTeX tables; intervals are in the tables behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrobust.benchmark.report.paper.entry import Entry, Piece, plain
from attrobust.benchmark.report.paper.panel import ARROWS, CORNER, Row, Section, head_of, transposed
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.columns import Told, columns_of
from attrobust.benchmark.report.verdict.legend import reading
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import Value, Verdict, verdict_of, with_verdict


def said_of(boards: Sequence[Leaderboard]) -> Iterator[tuple[list[list[Section]], str]]:
    """The verdict of every leaderboard that has one, as it may be arranged, and its caption.

    The first caption says how all are read.
    """
    judged = with_verdict(boards)
    verdicts = [verdict_of(board) for board in judged]
    for number, (board, verdict) in enumerate(zip(judged, verdicts, strict=True)):
        words = [f"{verdict.where}." if verdict.where else "", sentence(verdict)]
        words += ["" if number else reading(judged, verdicts)]
        yield _arranged(verdict, transpose=board.style.transpose), " ".join(filter(None, words))


def _arranged(verdict: Verdict, *, transpose: bool) -> list[list[Section]]:
    """All columns beside each other, or what is said of networks above what is said of their maps."""
    columns = columns_of(verdict)
    if transpose:
        return [[transposed(_section(verdict, columns), [column.head(ARROWS) for column in columns])]]
    parts = [[column for column in columns if bool(column.kind) == of_maps] for of_maps in (False, True)]
    return [[_section(verdict, columns)], [_section(verdict, part) for part in parts if part]]


def _section(verdict: Verdict, columns: Sequence[Told]) -> Section:
    cells = [[_entry(cell) for cell in column.cells] for column in columns]
    return Section(
        title="",
        corner=CORNER,
        heads=tuple(head_of(column.title(ARROWS), ", ".join(column.words[1:])) for column in columns),
        rows=tuple(
            Row(name=row.name, cells=tuple(entries)) for row, *entries in zip(verdict.rows, *cells, strict=True)
        ),
    )


def _entry(cell: Value | str) -> Entry:
    """``47.8 (1)``, the number in bold where its rank is 1."""
    if isinstance(cell, str):
        return plain(cell)
    mean, _, rest = cell.text(interval=False).partition(" ")
    number = Piece(mean.replace("-", "\N{MINUS SIGN}"), "bold" if cell.rank == 1 else "plain")
    return (number, *plain(f" {rest}" if rest else ""))
