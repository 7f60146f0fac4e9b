"""Plain text for the terminal, and Markdown."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from functools import partial

from attrobust.benchmark.report.entries import printed_rows
from attrobust.benchmark.report.notes import all_notes
from attrobust.benchmark.report.table import (
    ALL,
    COMMON,
    Group,
    Leaderboard,
    Mean,
    Metric,
    Number,
    Shown,
    beside,
    by_columns,
)
from attrobust.benchmark.report.view.style import Intervals
from attrobust.benchmark.report.words import (
    CONTESTED,
    SPREAD,
    caption,
    header,
    interval_text,
    left_out,
    legend,
    name,
    protocols,
    subset_title,
    told,
)
from attrobust.benchmark.statistics import OverSeeds
from attrobust.benchmark.store.schema import SCOPES

Cells = list[list[str]]
ARROWS = {True: "↑", False: "↓"}


def terminal(*boards: Leaderboard) -> str:
    """The table over all images, or another subset where that alone is shown, with ``*`` for the best and its ties.

    Args:
        boards: one, or several, whose blocks of the same columns stand beside each other.
    """
    parts = [caption(*boards), legend(*boards)]
    for scope in SCOPES:
        for shown in by_columns(beside(boards, boards[0].first_subset, scope)):
            parts += ["", *_blocks(shown)]
    parts += ["", *(f"! {line}" for line in all_notes(boards, choices=False)), *all_notes(boards, flags=False)]
    return "\n".join([*parts, *filter(None, told(boards, _others))]) + "\n"


def _blocks(shown: Sequence[Shown]) -> list[str]:
    """Lines of groups with the same columns, under one head."""
    board, group = shown[0]
    head = _head([*board.accuracies, *group.metrics])
    blocks = [_cells(board, group, lambda text: f"{text} *") for board, group in shown]
    widths = [max(map(len, column)) for column in zip(head, *itertools.chain.from_iterable(blocks), strict=True)]
    lines = [_aligned(head, widths)]
    for (board, group), block in zip(shown, blocks, strict=True):
        lines += [f"-- {board.title(group)} " + "-" * 20, *(_aligned(row, widths) for row in block)]
    return lines


def _others(board: Leaderboard) -> str:
    if len({group.subset for group in board.groups}) == 1:
        return ""
    right = f"every evaluated network gets right{left_out(board)}"
    return f"The other tables also show the {board.common} images that {right}."


def markdown(*boards: Leaderboard) -> str:
    """All groups as Markdown tables, best and ties in bold, and how scores are spread over the images."""
    parts = [f"# {protocols(boards)}", "", caption(*boards), legend(*boards), ""]
    for subset in (ALL, COMMON):
        shown = beside(boards, subset)
        parts += [f"## {subset_title(shown)}", ""] if shown else []
        for board, group in shown:
            rows = _cells(board, group, lambda text: f"**{text}**")
            parts += [
                f"### {_escape(board.title(group))}",
                "",
                *_table(_head([*board.accuracies, *group.metrics]), rows),
            ]
    parts += [f"## {SPREAD}", ""] if beside(boards, ALL) else []
    for board, group in beside(boards, ALL):
        parts += [f"### {_escape(board.title(group))}", "", *_table(_head(group.metrics), _spreads(board, group))]
    if said := all_notes(boards):
        parts += ["## Notes", "", *(f"- {_escape(note)}" for note in said), ""]
    return "\n".join(parts)


def _head(metrics: Sequence[Metric]) -> list[str]:
    return ["method", *(f"{header(metric, metrics)} {ARROWS[metric.higher_is_better]}" for metric in metrics)]


def _cells(board: Leaderboard, group: Group, mark: Callable[[str], str]) -> Cells:
    return printed_rows(board, group, partial(_entry, mark, board.style.intervals), partial(_over_seeds, mark))


def _spreads(board: Leaderboard, group: Group) -> Cells:
    """Per metric ``worst / 5 % / median``."""
    rows = []
    for line in group.lines:
        cells = []
        for metric, number in zip(group.metrics, line.numbers, strict=True):
            found = number.spread
            values = () if found is None else (found.worst, found.tail, found.median)
            cells.append(" / ".join(metric.text(value) or "undefined" for value in values) or "failed")
        rows.append([name(line, board), *cells])
    return rows


def _entry(mark: Callable[[str], str], intervals: Intervals, metric: Metric, number: Number) -> str:
    estimate = number.estimate
    if estimate is None:
        return "failed"
    if not estimate.defined:
        return "undefined"
    mean = metric.text(estimate.mean)
    flag = (" !" if number.flags else "") + (f" {CONTESTED}" if number.contests else "")
    missing = f" ({estimate.n - estimate.defined} undefined)" if estimate.defined < estimate.n else ""
    interval = f" {interval_text(metric, estimate, intervals)}".rstrip()
    return (mark(mean) if number.best else mean) + interval + missing + flag


def _over_seeds(
    mark: Callable[[str], str], metric: Metric, method: Mean, value: OverSeeds | None, rank: int | None
) -> str:
    if value is None:
        return "failed"
    mean = metric.text(value.mean) or "undefined"
    flag = " !" if method.flags else ""
    return (mark(mean) if rank == 1 else mean) + f" ± {metric.text(value.error, digits=1) or 'undefined'}{flag}"


def _table(head: list[str], rows: Cells) -> list[str]:
    return [_piped(head), "|" + "---|" + "---:|" * (len(head) - 1), *map(_piped, rows), ""]


def _aligned(row: list[str], widths: list[int]) -> str:
    first, *others = (
        f"{text:<{width}}" if i == 0 else f"{text:>{width}}"
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _piped(row: list[str]) -> str:
    return "| " + " | ".join(_escape(text, keep="*") for text in row) + " |"


def _escape(text: str, keep: str = "") -> str:
    return text.translate(_escapes(keep))


@functools.cache
def _escapes(keep: str) -> dict[int, str]:
    return str.maketrans({char: f"\\{char}" for char in "|*_<>`" if char not in keep})
