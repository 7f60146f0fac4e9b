"""Plain text for the terminal, and Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from attrobust.benchmark.report.entries import printed_rows
from attrobust.benchmark.report.notes import all_notes
from attrobust.benchmark.report.table import (
    ALL,
    COMMON,
    TABLE_SCOPES,
    Group,
    Leaderboard,
    Metric,
    Number,
    SeedNumber,
    Shown,
    beside,
    by_columns,
)
from attrobust.benchmark.report.verdict.columns import columns_of
from attrobust.benchmark.report.verdict.legend import reading
from attrobust.benchmark.report.verdict.sentence import sentence
from attrobust.benchmark.report.verdict.terminal import ARROWS, NARROWEST, WIDEST, verdicts, wrapped
from attrobust.benchmark.report.verdict.view import verdict_of, with_verdict
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
from attrobust.naming.safe import line
from attrobust.naming.safe import markdown as safe

Cells = list[list[str]]
FEW = 2
"""Blocks that are printed without being asked for."""
NOTES = 3
"""Lines about flags that are printed without being asked for."""


def terminal(*boards: Leaderboard, full: bool = False, columns: int = WIDEST) -> str:
    """The verdict; behind it, where ``shows_blocks`` or that is asked for, the blocks of the table over all images.

    There is a block for each explainer and attack; ``*`` marks the best and its ties. Where another subset of the
    images is shown alone, blocks are of that.

    Args:
        boards: one, or several, whose blocks of the same columns stand beside each other.
        full: whether all blocks are printed, however many there are.
        columns: of the terminal.
    """
    parts = [*verdicts(boards, columns), ""] if with_verdict(boards) else []
    width = max(NARROWEST, min(WIDEST, columns))
    if full or shows_blocks(boards):
        return "\n".join([*parts, *_whole(boards, width)]) + "\n"
    flags, choices = all_notes(boards, choices=False), all_notes(boards, flags=False)
    shown = [*(f"! {note}" for note in flags[:NOTES]), *choices, caption(*boards)]
    if len(flags) > NOTES:
        shown.insert(NOTES, f"! and {len(flags) - NOTES} more notes, which --full prints")
    return "\n".join([*parts, *(row for text in shown for row in wrapped(text, width))]) + "\n"


def shows_blocks(boards: Sequence[Leaderboard]) -> bool:
    """Whether all blocks are printed without being asked for: there are few, or they are of a view."""
    return any(board.style.is_view for board in boards) or sum(len(board.subset(ALL)) for board in boards) <= FEW


def _whole(boards: Sequence[Leaderboard], width: int) -> list[str]:
    """Lines of all blocks over all images, and what has to be known beside them, in sentences of so many columns."""
    parts = [*wrapped(caption(*boards), width), *wrapped(legend(*boards), width)]
    for scope in TABLE_SCOPES:
        for shown in by_columns(beside(boards, boards[0].first_subset, scope)):
            parts += ["", *_blocks(shown)]
    said = [f"! {note}" for note in all_notes(boards, choices=False)]
    said += [*all_notes(boards, flags=False), *filter(None, told(boards, _others))]
    return [*parts, "", *(row for text in said for row in wrapped(text, width))]


def _blocks(shown: Sequence[Shown]) -> list[str]:
    """Lines of groups with the same columns, under one head."""
    board, group = shown[0]
    head = _head(group.metrics, line)
    blocks = [_cells(board, group, lambda text: f"{text} *", line) for board, group in shown]
    widths = [max(map(len, column)) for column in zip(head, *itertools.chain.from_iterable(blocks), strict=True)]
    printed = [_aligned(head, widths)]
    for (board, group), block in zip(shown, blocks, strict=True):
        printed += [f"-- {line(board.title(group))} " + "-" * 20, *(_aligned(row, widths) for row in block)]
    return printed


def _others(board: Leaderboard) -> str:
    if len({group.subset for group in board.groups}) == 1:
        return ""
    right = f"every evaluated network gets right{left_out(board)}"
    return f"The other tables also show the {board.common} images that {right}."


def markdown(*boards: Leaderboard) -> str:
    """All groups as Markdown tables, best and ties in bold, and how scores are spread over the images."""
    said = [safe(text) for text in (caption(*boards), legend(*boards))]
    parts = [f"# {safe(protocols(boards))}", "", *_verdicts(boards), *said, ""]
    for subset in (ALL, COMMON):
        shown = beside(boards, subset)
        parts += [f"## {safe(subset_title(shown))}", ""] if shown else []
        for board, group in shown:
            rows = _cells(board, group, lambda text: f"**{text}**", safe)
            parts += [f"### {safe(board.title(group))}", "", *_table(_head(group.metrics, safe), rows)]
    parts += [f"## {SPREAD}", ""] if beside(boards, ALL) else []
    for board, group in beside(boards, ALL):
        if group.scope != "accuracy":
            parts += [f"### {safe(board.title(group))}", ""]
            parts += _table(_head(group.metrics, safe), _spreads(board, group))
    if notes := all_notes(boards):
        parts += ["## Notes", "", *(f"- {safe(note)}" for note in notes), ""]
    return "\n".join(parts)


def _verdicts(boards: Sequence[Leaderboard]) -> list[str]:
    """The verdict of each leaderboard in Markdown."""
    if not (boards := with_verdict(boards)):
        return []
    found = [verdict_of(board) for board in boards]
    parts = ["## Verdict", ""]
    for verdict in found:
        columns = columns_of(verdict)
        cells = [
            [cell if isinstance(cell, str) else cell.text(interval=True, bold="**") for cell in column.cells]
            for column in columns
        ]
        rows = [[safe(row.name), *texts] for row, *texts in zip(verdict.rows, *cells, strict=True)]
        parts += [f"### Verdict, {safe(verdict.where)}", ""] if verdict.where else []
        head = ["method", *(safe(column.head(ARROWS)) for column in columns)]
        parts += [safe(sentence(verdict)), "", *_table(head, rows)]
    return [*parts, safe(reading(boards, found)), ""]


def _head(metrics: Sequence[Metric], shown: Callable[[str], str]) -> list[str]:
    """Titles of columns; ``shown`` makes names safe where they stand."""
    return ["method", *(shown(f"{header(metric, metrics)} {ARROWS[metric.higher_is_better]}") for metric in metrics)]


def _cells(board: Leaderboard, group: Group, mark: Callable[[str], str], shown: Callable[[str], str]) -> Cells:
    """Rows of a group; ``mark`` makes a number one of the best, ``shown`` a name safe where it stands."""
    rows = printed_rows(board, group, partial(_entry, mark, board.style.intervals), partial(_over_seeds, mark))
    return [[shown(row[0]), *row[1:]] for row in rows]


def _spreads(board: Leaderboard, group: Group) -> Cells:
    """Per metric ``worst / 5 % / median``, with a ``!`` where the number has a flag."""
    rows = []
    for network in group.lines:
        cells = []
        for metric, number in zip(group.metrics, network.numbers, strict=True):
            found = number.spread
            values = () if found is None else (found.worst, found.tail, found.median)
            text = " / ".join(metric.text(value) or "undefined" for value in values)
            cells.append(text + _flagged(number) if text else "failed")
        rows.append([safe(name(network, board)), *cells])
    return rows


def _entry(mark: Callable[[str], str], intervals: Intervals, metric: Metric, number: Number) -> str:
    estimate = number.estimate
    if estimate is None:
        return "failed"
    if not estimate.defined:
        return "undefined"
    mean = metric.text(estimate.mean)
    flag = _flagged(number) + (f" {CONTESTED}" if number.contests else "")
    missing = f" ({estimate.n - estimate.defined} undefined)" if estimate.defined < estimate.n else ""
    interval = f" {interval_text(metric, estimate, intervals)}".rstrip()
    return (mark(mean) if number.best else mean) + interval + missing + flag


def _over_seeds(mark: Callable[[str], str], metric: Metric, number: SeedNumber) -> str:
    value = number.value
    if value is None:
        return "failed"
    mean = metric.text(value.mean) or "undefined"
    flag = _flagged(number)
    return (mark(mean) if number.rank == 1 else mean) + f" ± {metric.width_text(value.error, 1) or 'undefined'}{flag}"


def _flagged(number: Number | SeedNumber) -> str:
    return " !" if number.flags else ""


def _table(head: list[str], rows: Cells) -> list[str]:
    return [_piped(head), "|" + "---|" + "---:|" * (len(head) - 1), *map(_piped, rows), ""]


def _aligned(row: list[str], widths: list[int]) -> str:
    first, *others = (
        f"{text:<{width}}" if i == 0 else f"{text:>{width}}"
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _piped(row: list[str]) -> str:
    return "| " + " | ".join(row) + " |"
