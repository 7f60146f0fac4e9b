"""LaTeX: a booktabs table per subset, to be put into a paper with ``\\input``."""

from __future__ import annotations

from collections.abc import Sequence

from attrobust.benchmark.report.entries import printed_rows
from attrobust.benchmark.report.notes import all_notes
from attrobust.benchmark.report.table import (
    ALL,
    COMMON,
    TABLE_SCOPES,
    Group,
    Leaderboard,
    Mean,
    Metric,
    Number,
    Shown,
    beside,
    by_columns,
)
from attrobust.benchmark.report.verdict import tex
from attrobust.benchmark.report.words import CONTESTED, caption, header, legend, subset_title
from attrobust.benchmark.statistics import OverSeeds

UP, DOWN = "$\\uparrow$", "$\\downarrow$"
FLAGGED, DAGGER = "\\textsuperscript{!}", "\\textsuperscript{\\dag}"
SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"},
    **{"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", CONTESTED: "\\dag{}"},
}

ESCAPES = str.maketrans(SPECIAL)


def render(*boards: Leaderboard) -> str:
    """The verdict, then a ``table*`` for each subset of the images, each thing that metrics belong to, other columns.

    Args:
        boards: one, or several, whose groups of the same columns stand beside each other.
    """
    tables = [
        (f"{subset}-{scope}" + (f"-{number}" if number > 1 else ""), groups)
        for subset in (ALL, COMMON)
        for scope in TABLE_SCOPES
        for number, groups in enumerate(by_columns(beside(boards, subset, scope)), start=1)
    ]
    texts = [_table(boards, label, groups, noted=number == 0) for number, (label, groups) in enumerate(tables)]
    verdicts = tex.tables(boards, escape, {True: UP, False: DOWN})
    return "% needs \\usepackage{booktabs}\n" + "\n".join([*verdicts, *texts])


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return text.translate(ESCAPES)


def _table(boards: Sequence[Leaderboard], label: str, groups: Sequence[Shown], *, noted: bool) -> str:
    shown = groups[0][1].metrics
    columns = 1 + len(shown)
    arrows = [f"{escape(header(item, shown))} {UP if item.higher_is_better else DOWN}" for item in shown]
    title = subset_title(groups)
    lines = [
        "\\begin{table*}",
        "\\centering",
        "\\small",
        f"\\caption{{{escape(title)}. {escape(caption(*boards))} {escape(legend(*boards))}}}",
        f"\\label{{tab:attrobust-{label}}}",
        f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        "\\toprule",
        " & ".join(["Method", *arrows]) + " \\\\",
    ]
    for board, group in groups:
        title = escape(board.title(group))
        lines += ["\\midrule", f"\\multicolumn{{{columns}}}{{l}}{{\\emph{{{title}}}}} \\\\", *_rows(board, group)]
    said = all_notes(boards) if noted else []
    footnotes = [f"\\par\\footnotesize {escape(note)}" for note in said]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *footnotes, "\\end{table*}", ""])


def _rows(board: Leaderboard, group: Group) -> list[str]:
    rows = printed_rows(board, group, _entry, _over_seeds)
    return [" & ".join([escape(name), *numbers]) + " \\\\" for name, *numbers in rows]


def _entry(metric: Metric, number: Number) -> str:
    """``\\textbf{61.2} {\\scriptsize [58.0, 64.1]}``, digits outside math so that bold takes."""
    estimate = number.estimate
    if estimate is None:
        return "failed"
    if not estimate.defined:
        return "undefined"
    mean, low, high = (_digits(metric.text(value)) for value in (estimate.mean, estimate.low, estimate.high))
    flag = (FLAGGED if number.flags else "") + (DAGGER if number.contests else "")
    missing = f", {estimate.n - estimate.defined} undefined" if estimate.defined < estimate.n else ""
    interval = f"[{low}, {high}]" if low else ""
    return f"{_bold(mean, number.best)}{flag} {{\\scriptsize {interval}{missing}}}"


def _over_seeds(metric: Metric, method: Mean, value: OverSeeds | None, rank: int | None) -> str:
    if value is None:
        return "failed"
    mean, error = metric.text(value.mean), metric.text(value.error, digits=1)
    shown = _bold(_digits(mean) or "undefined", rank == 1)
    return f"{shown}{FLAGGED if method.flags else ''} {{\\scriptsize $\\pm$ {error or 'undefined'}}}"


def _digits(text: str) -> str:
    return text.replace("-", "$-$")


def _bold(text: str, wanted: bool) -> str:
    return f"\\textbf{{{text}}}" if wanted else text
