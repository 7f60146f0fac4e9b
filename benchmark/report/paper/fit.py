"""How a LaTeX table is cut, so that it fits the width and the height of a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attrobust.benchmark.report.paper.entry import plain, widest
from attrobust.benchmark.report.paper.panel import Head, Section, title_of

COLUMN, TEXT, BOTH = 229.5, 345.0, 469.0
"""Widths in points of the article class at 10 pt: a column of two, the text of one column, two columns."""
KERNS = 3.0
"""Points that the space between pairs of letters, which estimates leave out, adds to a table at most."""
PAGE = 520.0
"""Height in points of a table with its caption; the text of the article class is 550 high."""
CAPTION_CHARACTER, CAPTION_LINE, AROUND_CAPTION = 4.5, 11.0, 20.0
"""Mean width of a character of a caption, height of a line of it, and space around it, in points."""
NOTE_CHARACTER, NOTE_LINE = 4.1, 9.5
CONTINUED = " (continued)"
FEWEST = 4
"""Rows of a block that stand on a page at least, where it goes on on the next."""
RULE = 6.0
"""Height in points of a rule with the space around it."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size of text.

    Attributes:
        command: in LaTeX.
        points: its size.
        line: height of a row in points.
        gap: half the space between columns in points, ``\\tabcolsep``.
    """

    command: str
    points: int
    line: float
    gap: float


SIZES = (
    Size(command="\\small", points=9, line=11.0, gap=6.0),
    Size(command="\\footnotesize", points=8, line=9.5, gap=4.0),
)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Sections in one table, cut to a width.

    Attributes:
        sections: one below the other.
        size: of the text.
        width: in points.
        cuts: how many times columns had to go below others.
    """

    sections: tuple[Section, ...]
    size: Size
    width: float
    cuts: int

    @property
    def columns(self) -> int:
        """How many columns the table has, that of the names left out."""
        return max(len(section.heads) for section in self.sections)

    @property
    def height(self) -> float:
        """Of all rows in points, without the caption."""
        return sum(sum(heights(section, previous, self.size)) for section, previous in _with_previous(self.sections))


def cut_to_width(sections: Sequence[Section], limit: float) -> Sheet:
    """Sections in the size that needs the fewest cuts, then the fewest pages, and the larger one where both do.

    Args:
        sections: one below the other.
        limit: in points; a table whose columns are too wide one by one is wider.
    """
    sheets = [_cut(sections, size, limit) for size in SIZES]
    return min(sheets, key=lambda sheet: (sheet.cuts, not fits(sheet, limit), len([*pages(sheet, PAGE, PAGE)])))


def fits(sheet: Sheet, limit: float) -> bool:
    """Whether a sheet is narrow enough, with some room for what its estimated width leaves out."""
    return sheet.width <= limit - KERNS


def pages(sheet: Sheet, first: float, others: float) -> Iterator[list[Section]]:
    """The sections of a sheet in parts, each no higher than a page; what goes on in the next part says so.

    Args:
        sheet: all of it.
        first, others: heights in points that captions leave of the first page, and of the others.
    """
    page: list[Section] = []
    left = first
    for section in sheet.sections:
        rest = section
        while rest.rows:
            head, _ = heights(rest, page[-1] if page else None, sheet.size)
            fitting = math.floor((left - head) / sheet.size.line)
            if page and fitting < len(rest.rows) and (fitting < FEWEST or left < others / 2):
                yield page
                page, left = [], others
                continue
            count = max(1, min(fitting, len(rest.rows)))
            page.append(replace(rest, rows=rest.rows[:count]))
            left -= head + count * sheet.size.line
            title = rest.title if rest.title.endswith(CONTINUED) else f"{rest.title}{CONTINUED}".strip()
            rest = replace(rest, title=title, rows=rest.rows[count:])
    if page:
        yield page


def heights(section: Section, previous: Section | None, size: Size) -> tuple[float, float]:
    """Of what stands above the rows of a section, and of its rows, in points.

    Args:
        section: that is set.
        previous: the one above it; one with the same columns needs no heads again.
        size: of the text.
    """
    lines = int(bool(section.title))
    rules = RULE
    if previous is None or not section.continues(previous):
        lines += 1 + any(head.upper for head in section.heads) + any(head.span for head in section.heads)
        rules += RULE
    return lines * size.line + rules, len(section.rows) * size.line


def _with_previous(sections: Sequence[Section]) -> Iterator[tuple[Section, Section | None]]:
    return zip(sections, (None, *sections), strict=False)


def caption_height(text: str, width: float) -> float:
    """Estimated height in points of a caption with the space around it."""
    return AROUND_CAPTION + CAPTION_LINE * math.ceil(len(text) * CAPTION_CHARACTER / width)


def notes_height(notes: Sequence[str], width: float) -> float:
    """Estimated height in points of notes below a table."""
    return sum(NOTE_LINE * math.ceil(len(note) * NOTE_CHARACTER / width) for note in notes)


def _cut(sections: Sequence[Section], size: Size, limit: float) -> Sheet:
    """Sections cut into as many parts as a width asks for, those with the most columns first."""
    runs = [list(run) for _, run in itertools.groupby(sections, key=lambda section: (section.corner, section.heads))]
    parts = [1] * len(runs)
    while True:
        shown = [section for run, count in zip(runs, parts, strict=True) for section in _in_parts(run, count)]
        width = width_of_table(shown, size)
        columns = [math.ceil(len(run[0].heads) / count) for run, count in zip(runs, parts, strict=True)]
        if width <= limit - KERNS or max(columns) <= 1:
            return Sheet(sections=tuple(shown), size=size, width=width, cuts=len(shown) - len(sections))
        parts[columns.index(max(columns))] += 1


def _in_parts(run: Sequence[Section], count: int) -> Iterator[Section]:
    """Sections with the same columns, some columns of all of them, then the next ones."""
    total = len(run[0].heads)
    each = math.ceil(total / count)
    for start in range(0, total, each):
        for section in run:
            yield section.picked(range(start, min(start + each, total)))


def width_of_table(sections: Sequence[Section], size: Size) -> float:
    """Estimated, in points; columns are as wide as the widest cell of any section."""
    names = [plain(text) for section in sections for text in (section.corner, *(row.name for row in section.rows))]
    columns: list[float] = [widest(names, size.points)]
    for section in sections:
        for index, found in enumerate(_columns(section, size), start=1):
            columns[index:] = [max(found, *columns[index : index + 1], 0.0), *columns[index + 1 :]]
    width = sum(columns) + 2 * size.gap * (len(columns) - 1)
    return max(width, widest([title_of(section.title) for section in sections], size.points))


def _columns(section: Section, size: Size) -> list[float]:
    """The width in points of each column; the last one below a title that they share is as wide as that asks for."""
    found = []
    for index, head in enumerate(section.heads):
        cells = [row.cells[index] for row in section.rows]
        found.append(widest([plain(head.upper), plain(head.lower), *cells], size.points))
    for start, stop, span in spans(section.heads):
        taken = sum(found[start:stop]) + 2 * size.gap * (stop - start - 1)
        found[stop - 1] += max(0.0, widest([title_of(span)], size.points) - taken)
    return found


def spans(heads: Sequence[Head]) -> Iterator[tuple[int, int, str]]:
    """Neighbouring columns with the same title above them: the first, the one after the last, and the title."""
    for span, members in itertools.groupby(range(len(heads)), key=lambda index: heads[index].span):
        indices = list(members)
        if span:
            yield indices[0], indices[-1] + 1, span
