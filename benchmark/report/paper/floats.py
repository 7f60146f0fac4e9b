"""The tables of an article that leaderboards make: which are beside each other, what each is called and says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attrobust.benchmark.report.notes import all_notes, contests
from attrobust.benchmark.report.paper.fit import (
    BOTH,
    COLUMN,
    PAGE,
    TEXT,
    Sheet,
    Size,
    caption_height,
    cut_to_width,
    fits,
    notes_height,
    pages,
    width_of_table,
)
from attrobust.benchmark.report.paper.glyphs import breakable
from attrobust.benchmark.report.paper.head import flags_of, head_of
from attrobust.benchmark.report.paper.panel import (
    Section,
    section_beside,
    sections_below,
    sections_transposed,
)
from attrobust.benchmark.report.paper.verdict import said_of
from attrobust.benchmark.report.table import ALL, COMMON, Leaderboard, beside
from attrobust.benchmark.report.view.style import Style
from attrobust.benchmark.report.words import caption, legend, subset_title
from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json

DIGITS = 6
"""Of the digest in a label."""
SECOND = " The next rank after the best is underlined."


@dataclass(frozen=True, kw_only=True)
class Float:
    """One table of an article.

    Attributes:
        environment: ``table``, or ``table*``, which is as wide as the page.
        label: for references to it.
        caption: in LaTeX.
        sections: its blocks.
        size: of its text.
        width, limit: of the table and of the room that there is for it, in points.
        notes: below it, in LaTeX.
    """

    environment: str
    label: str
    caption: str
    sections: tuple[Section, ...]
    size: Size
    width: float
    limit: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Paper:
    """All tables of a file, and the notes that do not fit below one."""

    floats: tuple[Float, ...]
    notes: tuple[str, ...] = ()

    @property
    def too_wide(self) -> list[str]:
        """One line for each table that is wider than the room for it."""
        return [
            f"{item.label} is {item.width - item.limit:.0f} pt wider than the {item.limit:.0f} pt that it has"
            for item in self.floats
            if item.width > item.limit
        ]


def paper(boards: Sequence[Leaderboard], *, head: bool = False) -> Paper:
    """The tables of leaderboards, their verdicts first, each no wider than the text and no higher than a page.

    Where even single columns are too wide, a table is wider; ``Paper.too_wide`` says so.

    Args:
        boards: one, or several beside each other.
        head: whether only what ``head_of`` leaves stands behind the verdict; a view is whole all the same.
    """
    head = head and not any(board.style.is_view for board in boards)
    notes = [*all_notes(boards, flags=False), *contests(boards), *flags_of(boards)] if head else all_notes(boards)
    tables, style = list(map(head_of, boards)) if head else boards, boards[0].style
    base = style.label or f"tab:attrobust-{_slug(boards)}-{_digest(tables)}"
    verdicts: list[Float] = []
    for arranged, words in said_of(boards):
        environment, limit, sheet = _fitting(arranged, style)
        # Names of methods, which may be long, leave lines that cannot be filled.
        full = f"\\protect\\raggedright {breakable(words)}"
        verdicts += _in_pages(sheet, environment, limit, full, (), f"{base}-verdict", len(verdicts))
    floats: list[Float] = []
    for subset in (ALL, COMMON):
        if not (shown := beside(tables, subset)):
            continue
        title = breakable(subset_title(shown))
        full = (
            f"{title}. {breakable(_facts(boards))}" if not floats else f"{title}. Otherwise as Table~\\ref{{{base}}}."
        )
        below: tuple[str, ...] = ()
        if style.caption and not floats:
            full, below = style.caption, (f"{title}. {breakable(_facts(boards))}",)
        environment, limit, sheet = _fitting(_arranged(tables, subset), style)
        floats += _in_pages(sheet, environment, limit, full, below, base, len(floats))
    return _with_notes([*verdicts, *floats], tuple(map(breakable, notes)))


def _facts(boards: Sequence[Leaderboard]) -> str:
    second = SECOND if boards[0].style.second else ""
    return f"{caption(*boards)} {legend(*boards)}{second}"


def _arranged(boards: Sequence[Leaderboard], subset: str) -> list[list[Section]]:
    """The blocks of a subset as they may stand, those beside each other first."""
    if boards[0].style.transpose:
        return [sections_transposed(boards, subset)]
    beside_each_other = [[section_beside(boards[0], subset)]] if len(boards) == 1 else []
    return [*beside_each_other, sections_below(boards, subset)]


def _fitting(arranged: Sequence[Sequence[Section]], style: Style) -> tuple[str, float, Sheet]:
    """The environment of tables, the room that there is and the first arrangement that fits it, or the last one cut."""
    rooms = [("table", COLUMN), ("table*", BOTH)] if style.two_column else [("table*", TEXT)]
    for sections in arranged:
        sheets = [(environment, limit, cut_to_width(sections, limit)) for environment, limit in rooms]
        joined = sections is not arranged[-1]
        for environment, limit, sheet in sheets:
            if not sheet.cuts and fits(sheet, limit) and (joined or sheet.height <= PAGE):
                return environment, limit, sheet
    return sheets[-1]


def _in_pages(
    sheet: Sheet, environment: str, limit: float, full: str, notes: tuple[str, ...], base: str, count: int
) -> Iterator[Float]:
    """The tables of a sheet, one for each page; all but the first say which they continue."""
    start = _label(base, count)
    rest = f"Continued from Table~\\ref{{{start}}}."
    below = notes_height(notes, limit)
    heights = PAGE - caption_height(full, limit) - below, PAGE - caption_height(rest, limit)
    for number, sections in enumerate(pages(sheet, *heights)):
        yield Float(
            environment=environment,
            label=_label(base, count + number),
            caption=rest if number else full,
            sections=tuple(sections),
            size=sheet.size,
            width=width_of_table(sections, sheet.size),
            limit=limit,
            notes=() if number else notes,
        )


def _with_notes(floats: Sequence[Float], notes: tuple[str, ...]) -> Paper:
    """Notes stand below the last table where they fit on its page, otherwise in the text behind all tables."""
    *others, last = floats
    height = sum(len(section.rows) + 3 for section in last.sections) * last.size.line
    taken = height + caption_height(last.caption, last.limit) + notes_height((*last.notes, *notes), last.limit)
    if taken <= PAGE:
        return Paper(floats=(*others, replace(last, notes=(*last.notes, *notes))))
    return Paper(floats=tuple(floats), notes=notes)


def _label(base: str, index: int) -> str:
    return f"{base}-{index + 1}" if index else base


def _slug(boards: Sequence[Leaderboard]) -> str:
    """The name of the protocol in letters that labels may have."""
    words = boards[0].comparison.protocol.split(" ")[0]
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in words).strip("-").lower()


def _digest(boards: Sequence[Leaderboard]) -> str:
    """Of what tables show, but for the numbers: the networks, the columns, of views their names, and the comparison."""
    facts: list[dict[str, Any]] = [
        {
            "comparison": as_json(board.comparison),
            "interval": board.interval,
            "where": board.where,
            "style": repr(board.style),
            "rows": [line.key for line in board.groups[0].lines],
            "accuracies": [metric.attack for metric in board.accuracies],
            "groups": [
                [group.subset, group.scope, group.explainer, group.attack, *(metric.label for metric in group.metrics)]
                for group in board.groups
            ],
        }
        for board in boards
    ]
    for fact, board in zip(facts, boards, strict=True):
        if board.style.is_view:
            titles = [metric.title for group in board.groups for metric in group.metrics]
            fact["names"] = [[line.label for line in board.groups[0].lines], titles]
    return fingerprint(facts)[:DIGITS]
