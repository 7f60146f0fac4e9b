"""Plain text for the terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.report.choices import note as chosen
from benchmark.report.table import ALL, COMMON, Group, Leaderboard, Metric, Number
from benchmark.report.words import caption, header, legend, name, subset_title

Cells = list[list[str]]
ARROWS = {True: "↑", False: "↓"}


def terminal(board: Leaderboard) -> str:
    """The table over all images, one block for each explainer and attack; ``*`` marks the best and its ties."""
    blocks = [_cells(board, group, lambda text: f"{text} *", titled=index == 0) for index, group in _all(board)]
    widths = [max(len(row[column]) for block in blocks for row in block) for column in range(len(blocks[0][0]))]
    parts = [caption(board), legend(board), ""]
    for (_, group), block in zip(_all(board), blocks, strict=True):
        if group is board.subset(ALL)[0]:
            parts.append(_aligned(block.pop(0), widths))
        parts.append(f"-- {group.explainer}, {group.attack} " + "-" * 20)
        parts += [_aligned(row, widths) for row in block]
    common = board.subset(COMMON)[0].images
    parts += ["", *(f"! {note}" for note in board.notes()), *map(chosen, board.choices)]
    parts.append(f"The other tables also show the {common} images that every evaluated network classifies correctly.")
    return "\n".join(parts) + "\n"


def markdown(board: Leaderboard) -> str:
    """All groups as Markdown tables, best and ties in bold."""
    parts = [f"# {board.comparison['protocol']}", "", caption(board), legend(board), ""]
    subset = ""
    for group in board.groups:
        if group.subset != subset:
            subset = group.subset
            parts += [f"## {subset_title(group)}", ""]
        rows = _cells(board, group, lambda text: f"**{text}**", titled=True)
        parts += [f"### {_escape(group.explainer)}, {_escape(group.attack)}", ""]
        parts += [_piped(rows[0]), "|" + "---|" + "---:|" * (len(rows[0]) - 1), *map(_piped, rows[1:]), ""]
    notes = [*board.notes(), *map(chosen, board.choices)]
    if notes:
        parts += ["## Notes", "", *(f"- {_escape(note)}" for note in notes), ""]
    return "\n".join(parts)


def _all(board: Leaderboard) -> list[tuple[int, Group]]:
    return list(enumerate(board.subset(ALL)))


def _cells(board: Leaderboard, group: Group, mark: Callable[[str], str], *, titled: bool) -> Cells:
    rows, shown = [], (*board.accuracies, *board.metrics)
    if titled:
        rows.append(["method", *(f"{header(metric, shown)} {ARROWS[metric.higher_is_better]}" for metric in shown)])
    for line in group.lines:
        pairs = zip(shown, (*line.accuracies, *line.numbers), strict=True)
        rows.append([name(line, board), *(_entry(metric, number, mark) for metric, number in pairs)])
    return rows


def _entry(metric: Metric, number: Number, mark: Callable[[str], str]) -> str:
    estimate = number.estimate
    if estimate is None:
        return "failed"
    if not estimate.defined:
        return "undefined"
    mean = metric.text(estimate.mean)
    flag = " !" if number.flags else ""
    missing = f" ({estimate.n - estimate.defined} undefined)" if estimate.defined < estimate.n else ""
    interval = f" [{metric.text(estimate.low)}, {metric.text(estimate.high)}]"
    return (mark(mean) if number.best else mean) + interval + missing + flag


def _aligned(row: list[str], widths: list[int]) -> str:
    first, *others = (
        f"{text:<{width}}" if i == 0 else f"{text:>{width}}"
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _piped(row: list[str]) -> str:
    return "| " + " | ".join(_escape(text, keep="*") for text in row) + " |"


def _escape(text: str, keep: str = "") -> str:
    return "".join(f"\\{char}" if char in "|*_<>`" and char not in keep else char for char in text)
