"""LaTeX: a booktabs table per subset, to be put into a paper with ``\\input``."""

from __future__ import annotations

from benchmark.report.choices import note as chosen
from benchmark.report.table import ALL, COMMON, Group, Leaderboard, Metric, Number
from benchmark.report.words import caption, header, legend, name, subset_title

UP, DOWN = "$\\uparrow$", "$\\downarrow$"
SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"},
    **{"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}"},
}


def render(board: Leaderboard) -> str:
    """Two ``table*`` environments, over all images and over those every network classifies correctly."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_table(board, subset) for subset in (ALL, COMMON))


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(char, char) for char in text)


def _table(board: Leaderboard, subset: str) -> str:
    groups = board.subset(subset)
    shown = (*board.accuracies, *board.metrics)
    columns = 1 + len(shown)
    arrows = [f"{escape(header(item, shown))} {UP if item.higher_is_better else DOWN}" for item in shown]
    lines = [
        "\\begin{table*}",
        "\\centering",
        "\\small",
        f"\\caption{{{escape(subset_title(groups[0]))}. {escape(caption(board))} {escape(legend(board))}}}",
        f"\\label{{tab:attrobust-{subset}}}",
        f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        "\\toprule",
        " & ".join(["Method", *arrows]) + " \\\\",
    ]
    for group in groups:
        title = escape(f"{group.explainer}, {group.attack}")
        lines += ["\\midrule", f"\\multicolumn{{{columns}}}{{l}}{{\\emph{{{title}}}}} \\\\", *_rows(board, group)]
    said = [*board.notes(), *map(chosen, board.choices)] if subset == ALL else []
    notes = [f"\\par\\footnotesize {escape(note)}" for note in said]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *notes, "\\end{table*}", ""])


def _rows(board: Leaderboard, group: Group) -> list[str]:
    rows = []
    for line in group.lines:
        pairs = zip((*board.accuracies, *board.metrics), (*line.accuracies, *line.numbers), strict=True)
        rows.append(" & ".join([escape(name(line, board)), *(_entry(*pair) for pair in pairs)]) + " \\\\")
    return rows


def _entry(metric: Metric, number: Number) -> str:
    """``\\textbf{61.2} {\\scriptsize [58.0, 64.1]}``, digits outside math so that bold takes."""
    estimate = number.estimate
    if estimate is None:
        return "failed"
    if not estimate.defined:
        return "undefined"
    mean, low, high = (metric.text(value).replace("-", "$-$") for value in (estimate.mean, estimate.low, estimate.high))
    shown = f"\\textbf{{{mean}}}" if number.best else mean
    flag = "\\textsuperscript{!}" if number.flags else ""
    missing = f", {estimate.n - estimate.defined} undefined" if estimate.defined < estimate.n else ""
    return f"{shown}{flag} {{\\scriptsize [{low}, {high}]{missing}}}"
