"""The verdict in LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.columns import columns_of
from attrobust.benchmark.report.verdict.legend import reading
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.view import Value, verdict_of

Escape = Callable[[str], str]


def tables(boards: Sequence[Leaderboard], escape: Escape, arrows: dict[bool, str]) -> list[str]:
    """A ``table*`` environment for the verdict of each leaderboard; heads have a line for each explainer.

    Args:
        boards: one or several.
        escape: text that LaTeX prints as it is.
        arrows: for metrics of which more is better, and for the others.
    """
    found = [verdict_of(board) for board in boards]
    legend = reading(boards, found)
    texts = []
    for number, verdict in enumerate(found, start=1):
        columns = columns_of(verdict)
        titles = [_titled(column.words[0], column.higher_is_better, escape, arrows) for column in columns]
        places = [escape(", ".join(column.words[1:])) for column in columns]
        cells = [[_cell(cell, escape) for cell in column.cells] for column in columns]
        rows = [[escape(row.name), *texts] for row, *texts in zip(verdict.rows, *cells, strict=True)]
        where = f"{verdict.where}. " if verdict.where else ""
        texts.append(
            "\n".join(
                [
                    "\\begin{table*}",
                    "\\centering",
                    "\\small",
                    f"\\caption{{{escape(f'{where}{sentence(verdict)} {legend}'.strip())}}}",
                    f"\\label{{tab:attrobust-verdict{f'-{number}' if number > 1 else ''}}}",
                    f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
                    "\\toprule",
                    *([_line(["", *places])] if any(places) else []),
                    _line(["Method", *titles]),
                    "\\midrule",
                    *map(_line, rows),
                    "\\bottomrule",
                    "\\end{tabular}",
                    "\\end{table*}",
                    "",
                ]
            )
        )
    return texts


def _titled(title: str, higher_is_better: bool | None, escape: Escape, arrows: dict[bool, str]) -> str:
    return escape(title) if higher_is_better is None else f"{escape(title)} {arrows[higher_is_better]}"


def _cell(cell: Value | str, escape: Escape) -> str:
    """``\\textbf{61.2} (1)``, digits outside math so that bold takes; intervals are in the tables below."""
    if isinstance(cell, str):
        return escape(cell)
    mean, _, rest = cell.text(interval=False).partition(" ")
    shown = mean.replace("-", "$-$")
    return " ".join(filter(None, [f"\\textbf{{{shown}}}" if cell.rank == 1 else shown, escape(rest)]))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\"
