"""The columns of a verdict, as every format shows them: numbers with their ranks, and what is told beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.verdict.view import Column, Row, Value, Verdict


@dataclass(frozen=True, kw_only=True)
class Told:
    """A column as it is shown.

    Attributes:
        words: of its head, part by part.
        higher_is_better: of its numbers; None where they have no better and worse.
        cells: one for each row: a number, or text.
        kind: columns of one kind stay together where they are put below each other.
    """

    words: tuple[str, ...]
    higher_is_better: bool | None
    cells: tuple[Value | str, ...]
    kind: str = ""

    def title(self, arrows: dict[bool, str], space: str = " ") -> str:
        """Its head in one line, without its explainer, and whether more or less is better."""
        return (
            self.words[0] if self.higher_is_better is None else f"{self.words[0]}{space}{arrows[self.higher_is_better]}"
        )

    def head(self, arrows: dict[bool, str]) -> str:
        """Its head in one line."""
        return ", ".join((self.title(arrows), *self.words[1:]))


def columns_of(verdict: Verdict) -> list[Told]:
    """Every column behind the name of the method; those of passes and flags only where there are any."""
    rows = verdict.rows
    found = _numbers(verdict.accuracies, [row.accuracies for row in rows])
    if verdict.counted:
        found.insert(
            0, _text("unbeaten", rows, lambda row: f"{row.unbeaten} of {verdict.counted}" if row.competes else "")
        )
    if any(row.passes is not None for row in rows):
        found.append(_text("passes", rows, lambda row: "" if row.passes is None else f"{row.passes:,.0f}"))
    if any(row.flags for row in rows):
        found.append(_text("flags", rows, lambda row: str(len(row.flags) or "")))
    values = _numbers(verdict.columns, [row.values for row in rows])
    return [*found, *(replace(column, kind=column.words[0]) for column in values)]


def _numbers(columns: Sequence[Column], values: Sequence[Sequence[Value]]) -> list[Told]:
    return [
        Told(
            words=column.words,
            higher_is_better=column.metric.higher_is_better,
            cells=tuple(row[place] for row in values),
        )
        for place, column in enumerate(columns)
    ]


def _text(title: str, rows: Sequence[Row], say: Callable[[Row], str]) -> Told:
    return Told(words=(title,), higher_is_better=None, cells=tuple(map(say, rows)))
