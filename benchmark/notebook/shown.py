"""Results as terminals and notebooks show them."""

from __future__ import annotations

import html as markup
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrobust.types import percent

if TYPE_CHECKING:
    from attrobust.benchmark.notebook.result import Evaluation, Scored

WIDTH = 100
ARROWS = {True: "↑", False: "↓"}
NUMBERS = ("mean", "low", "high", "median", "worst")
COLUMNS = ("metric", "mean", "95 % interval", "median", "worst", "image")


def asked(result: Evaluation) -> str:
    """What was asked."""
    threat = result.threat
    kept = ", prediction kept" if threat.keep_prediction else ""
    return f"{result.explainer} under {result.attack}, {threat}{kept}, {count(len(result))}"


def count(images: int) -> str:
    """A number of images in words."""
    return f"{images} image" + ("" if images == 1 else "s")


def remarks(result: Evaluation) -> list[str]:
    """What has to be known beside the numbers, a line each."""
    lines = [] if result.accuracy is None else [f"accuracy {percent(result.accuracy)}"]
    stopped = int((~result.feasible).sum())
    if stopped:
        lines.append(f"the attack found no feasible image for {stopped} of {len(result)}; these score as clean")
    lines += [f"flag {flag.name}: {flag.reason}" for flag in result.flags]
    undefined = [scored.facts.title for scored in result.scores if not any(map(math.isfinite, scored.values))]
    lines += [f"{title} is undefined for all images" for title in undefined]
    return lines + [f"note: {note}" for note in result.notes]


def rows(result: Evaluation) -> list[list[str]]:
    """The cells of the table, a list for every metric."""
    summary = result.summary()
    found = []
    for scored, (title, line) in zip(result.scores, summary.iterrows(), strict=True):
        mean, low, high, median, worst = (_number(line[key], scored) for key in NUMBERS)
        interval = "" if math.isnan(line["low"]) else f"[{low}, {high}]"
        image = "" if math.isnan(line["worst"]) else str(line["worst_image"])
        found.append([f"{title} {ARROWS[scored.facts.higher_is_better]}", mean, interval, median, worst, image])
    return found


def text(result: Evaluation) -> str:
    """A result for the terminal."""
    lines = [f"{result.name}: {asked(result)}", "", *aligned([COLUMNS, *rows(result)])]
    notes = remarks(result)
    return "\n".join(lines + ([""] if notes else []) + wrapped(notes))


def html(result: Evaluation) -> str:
    """A result for a notebook."""
    head = escaped(f"{result.name}: {asked(result)}")
    return f"<p><b>{head}</b></p>{table([COLUMNS, *rows(result)])}{listed(remarks(result))}"


def escaped(words: str) -> str:
    """Text as HTML."""
    return markup.escape(words)


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(line))
        for line in ([*zip(row, widths, strict=True)] for row in cells)
    ]


def wrapped(lines: Sequence[str]) -> list[str]:
    """Lines that fit a terminal."""
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ")]


def table(cells: Sequence[Sequence[str]]) -> str:
    """An HTML table whose first row is its head."""
    head, *body = cells
    lines = "".join(_line(row, "td") for row in body)
    return f"<table><thead>{_line(head, 'th')}</thead><tbody>{lines}</tbody></table>"


def listed(lines: Sequence[str]) -> str:
    """An HTML list; nothing where there are no lines."""
    return "<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _line(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escaped(cell)}</{tag}>" for cell in cells) + "</tr>"


def _number(value: float, scored: Scored) -> str:
    if not math.isfinite(value):
        return "undefined"
    return f"{value:.{scored.facts.decimals}f}"
