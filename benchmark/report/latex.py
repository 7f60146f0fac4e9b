"""LaTeX: booktabs tables that fit their page, to be put into a paper with ``\\input``."""

from __future__ import annotations

from collections.abc import Iterator

from attrobust.benchmark.report.paper.entry import tex
from attrobust.benchmark.report.paper.fit import spans
from attrobust.benchmark.report.paper.floats import Float, Paper, paper
from attrobust.benchmark.report.paper.glyphs import escape
from attrobust.benchmark.report.paper.panel import Row, Section, title_of
from attrobust.benchmark.report.table import Leaderboard

__all__ = ["escape", "head", "render", "too_wide"]

AT_ONCE = 12
"""Tables that LaTeX is made to hold back at most until it finds a page for them."""


def render(*boards: Leaderboard) -> str:
    """The tables of leaderboards: of all images, and of those that every network classifies correctly.

    Args:
        boards: one, or several, whose groups of the same columns stand beside each other.
    """
    return _source(paper(boards))


def _source(found: Paper) -> str:
    lines = ["% needs \\usepackage{booktabs}", *(f"% {line}" for line in found.too_wide)]
    for number, item in enumerate(found.floats):
        if number and number % AT_ONCE == 0:
            lines += ["\\clearpage", ""]
        lines += [*_float(item), ""]
    if found.notes:
        title = f"Notes to Table~\\ref{{{found.floats[0].label}}}."
        lines += [
            "{\\footnotesize\\raggedright",
            *(f"\\par\\noindent {note}" for note in (title, *found.notes)),
            "\\par}",
            "",
        ]
    return "\n".join(lines)


def head(*boards: Leaderboard) -> str:
    """What an article shows of leaderboards: the verdict, accuracies and the worst case of every explainer.

    Of a run with one attack these are its blocks over all images. A view is shown as a whole.

    Args:
        boards: see ``render``.
    """
    return _source(paper(boards, head=True))


def too_wide(*boards: Leaderboard, whole: bool) -> list[str]:
    """One line for each table that is wider than the room for it, and by how much.

    Args:
        boards: see ``render``.
        whole: whether of what ``render`` writes, or of what ``head`` does.
    """
    return paper(boards, head=not whole).too_wide


def _float(item: Float) -> Iterator[str]:
    columns = 1 + max(len(section.heads) for section in item.sections)
    yield f"\\begin{{{item.environment}}}"
    yield "\\centering\\small"
    yield f"\\caption{{{item.caption}}}"
    yield f"\\label{{{item.label}}}"
    # The article class leaves no space between a caption and the table below it.
    yield "\\par\\vskip 4pt"
    yield f"{item.size.command}\\setlength{{\\tabcolsep}}{{{item.size.gap:g}pt}}"
    yield f"\\begin{{tabular}}{{@{{}}l{'r' * (columns - 1)}@{{}}}}"
    previous = None
    for section in item.sections:
        yield "\\midrule" if previous else "\\toprule"
        if previous is None or not section.continues(previous):
            yield from _heads(section)
            yield "\\midrule"
        if section.title:
            yield f"\\multicolumn{{{columns}}}{{@{{}}l@{{}}}}{{{tex(title_of(section.title))}}} \\\\"
        yield from map(_row, section.rows)
        previous = section
    yield from ("\\bottomrule", "\\end{tabular}")
    if item.notes:
        yield "\\par\\smallskip\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright"
        yield from (f"{note}\\par" for note in item.notes)
        yield "\\end{minipage}"
    yield f"\\end{{{item.environment}}}"


def _heads(section: Section) -> Iterator[str]:
    found = list(spans(section.heads))
    if found:
        cells, rules, at = [""], [], 0
        for start, stop, title in found:
            cells += [""] * (start - at)
            cells.append(f"\\multicolumn{{{stop - start}}}{{c}}{{{tex(title_of(title))}}}")
            rules.append(f"\\cmidrule(lr){{{start + 2}-{stop + 1}}}")
            at = stop
        yield " & ".join(cells) + " \\\\"
        yield "".join(rules)
    if any(head.upper for head in section.heads):
        yield " & ".join(["", *(escape(head.upper) for head in section.heads)]) + " \\\\"
    yield " & ".join([section.corner, *(escape(head.lower) for head in section.heads)]) + " \\\\"


def _row(row: Row) -> str:
    shown = escape(row.name)
    # LaTeX reads a bracket or a star behind the end of a row as part of the command that ends it.
    guarded = f"{{}}{shown}" if shown[:1] in ("[", "*") else shown
    return " & ".join([guarded, *map(tex, row.cells)]) + " \\\\"
