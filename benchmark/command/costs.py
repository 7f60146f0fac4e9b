"""What is left of a run costs, as people read it: passes, time and memory by network, explainer and attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrobust.files import size_words

if TYPE_CHECKING:
    from attrobust.benchmark.run.estimate import CellCost, Estimate
    from attrobust.benchmark.run.runner import Runner

LONG = 60
"""Of seconds and of minutes, what is said in the next unit."""
FIRST = 5
"""Lines of cells that are shown before a run."""
WIDTHS = (17, 18, 19)
"""Of the names of network, explainer and attack."""


def cost_lines(found: Estimate, processes: int, *, most: int | None = None) -> list[str]:
    """A table of at most 100 columns, the most costly cells first and their total last.

    Args:
        found: of a run.
        processes: that share the work, in the total.
        most: how many cells are shown; None for all.
    """
    cells = found.dearest
    shown = cells[:most]
    lines = [_line(("network", "explainer", "attack"), "images", "passes each", "in all", "time", "memory")]
    lines += [_cell(cell) for cell in shown]
    if rest := cells[len(shown) :]:
        seconds = sum(cell.seconds for cell in rest)
        passes = count(sum(cell.passes for cell in rest))
        lines.append(_line((f"{len(rest)} more", "", "see --dry-run"), "", "", passes, duration(seconds), ""))
    peak = max((cell.memory for cell in cells), default=0)
    total = sum(cell.passes for cell in cells)
    memory = size_words(peak) if peak else ""
    lines.append(_line(("total", "", ""), "", "", count(total), duration(found.computing / processes), memory))
    return lines


def warnings_of(runner: Runner, found: Estimate) -> list[str]:
    """A line for each explainer that takes very many passes a map."""
    lines = []
    for label, passes in found.maps.items():
        if advice := runner.advice(label, passes):
            side = runner.data.size
            lines.append(f"{label} takes {passes:,.0f} passes a map at {side}×{side}; {advice}")
    return lines


def said_before(runner: Runner) -> list[str]:
    """What a run says before anything is spent; nothing of a short run."""
    found = runner.costly()
    if found is None:
        return []
    processes = len(runner.resources.devices)
    return [
        *cost_lines(found, processes, most=FIRST),
        *(f"warning: {line}" for line in warnings_of(runner, found)),
        *not_tried(found),
    ]


def not_tried(found: Estimate) -> list[str]:
    """A line with what is in no number; none where there is nothing."""
    return [f"besides  not tried out: {', '.join(dict.fromkeys(found.unknown))}"] if found.unknown else []


def _cell(cell: CellCost) -> str:
    memory = size_words(cell.memory) if cell.memory else ""
    names = cell.network, cell.explainer, cell.attack
    return _line(names, f"{cell.images:,}", f"{cell.each:,.0f}", count(cell.passes), duration(cell.seconds), memory)


def _line(names: Sequence[str], images: str, each: str, passes: str, seconds: str, memory: str) -> str:
    texts = [f"{_cut(name, width):<{width}}" for name, width in zip(names, WIDTHS, strict=True)]
    return f"{' '.join(texts)} {images:>6} {each:>11} {passes:>6} {seconds:>7} {memory:>8}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < LONG:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < LONG else f"{_three_digits(minutes / 60)} h"


def count(number: float) -> str:
    """A number of passes in at most six signs: ``950``, ``12 k``, ``3.4 M``, ``1.2 G``."""
    for power, letter in ((9, "G"), (6, "M")):
        if number >= 10**power:
            return f"{_three_digits(number / 10**power)} {letter}"
    return f"{number / 1000:.0f} k" if number >= 10000 else f"{number:.0f}"


def _three_digits(number: float) -> str:
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"
