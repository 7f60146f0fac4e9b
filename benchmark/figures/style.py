"""What all figures have in common: size, fonts, colours, the texts that came from users, and files."""

from __future__ import annotations

import importlib
import io
import math
import sys
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from attrobust.files import write_atomically
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

FORMATS = ("png", "pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, made for all kinds of colour vision, without the yellow, which is pale on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""As many as have no common divisor with the colours, so that 56 networks look different, neighbours in both."""
GREY = "#7F7F7F"
SETTINGS: dict[str, Any] = {
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "text.usetex": False,
}
"""Whatever a user's matplotlibrc says; fonts are embedded in a PDF as TrueType, which publishers ask for."""
WIDTH, HEIGHT = 3.0, 2.7
"""Of a panel, in inches."""
BESIDE = 3
"""Panels in a line, at most."""
HEADING_LETTER = 0.062
"""Width of a letter of a heading, in inches."""
LEGEND_LINE = 0.16
"""Height of a legend's line, in inches."""
DOTS = 200
"""Per inch, of a PNG."""


def settings(*, grid: bool = True) -> AbstractContextManager[None]:
    """Within it, matplotlib draws as all figures are drawn; ``grid`` says whether there are lines at the ticks."""
    if "ipykernel" in sys.modules:
        # A notebook shows figures once its backend is loaded; before, it prints their size.
        importlib.import_module("matplotlib.pyplot").switch_backend(mpl.get_backend())
    chosen: Any = {**SETTINGS, "axes.grid": grid}
    return mpl.rc_context(chosen)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a network is drawn, in all panels alike."""

    colour: str
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker for each name, in their order."""
    return {
        name: Look(colour=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)])
        for index, name in enumerate(dict.fromkeys(names))
    }


def plain(text: str, width: int = 40) -> str:
    """A text from outside as matplotlib prints it letter by letter: no formula, one line, at most so many letters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    short = line if len(line) <= width else f"{line[: width - 1]}…"
    return short.replace("$", r"\$")


def plain_lines(text: str, across: int) -> str:
    """A long text from outside in lines of at most so many letters."""
    return "\n".join(textwrap.wrap(plain(text, 400), across))


def arrow(*, higher_is_better: bool) -> str:
    """Which way is better."""
    return "↑" if higher_is_better else "↓"


def panels(
    titles: Sequence[str], *, width: float = WIDTH, height: float = HEIGHT, share_y: bool = False, least: float = 0
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, ``BESIDE`` in a line.

    Args:
        titles: of the panels, from outside.
        width, height: of a panel, in inches.
        share_y: whether all have the same y axis, which is then labelled on the left only.
        least: height of the figure at least, in inches, e.g. for a legend.
    """
    across = min(BESIDE, len(titles))
    down = math.ceil(len(titles) / across)
    figure = Figure(figsize=(width * across, max(height * down, least)), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=share_y)
    axes = [axis for line in grid for axis in line]
    for axis in axes[len(titles) :]:
        axis.set_visible(False)
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(plain(title))
    return figure, axes[: len(titles)]


def rows_of_names(titles: Sequence[str], names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title in which networks are lines, the first on top, and have names on the left.

    Args:
        titles: of the panels, from outside.
        names: of the networks, from outside; the first is at y = 0.
    """
    figure, axes = panels(titles, width=2.4, height=0.17 * len(names) + 0.9, share_y=True, least=1.6)
    axes[0].set_yticks(range(len(names)), [plain(name) for name in names], fontsize=7)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    figure.set_figwidth(figure.get_figwidth() + 0.06 * max(len(plain(name)) for name in names))
    return figure, axes


def legend(figure: Figure, entries: Sequence[tuple[str, Line2D]], *, bold: Iterable[str] = (), title: str = "") -> None:
    """A legend on the right, outside of all panels, in the order given.

    Args:
        figure: that gets it; it is widened by what the legend takes.
        entries: names, from outside, with what stands for them.
        bold: of the names, those that are printed so.
        title: above it.
    """
    # Matplotlib leaves out what begins with an underscore, so texts are put in afterwards.
    found = figure.legend(
        [handle for _, handle in entries],
        ["x"] * len(entries),
        loc="outside right upper",
        title=title or None,
        alignment="left",
    )
    found.set_frame_on(False)
    found.get_title().set_fontsize(7)
    strong = set(bold)
    for text, (name, _) in zip(found.get_texts(), entries, strict=True):
        text.set_text(plain(name))
        text.set_fontsize(7)
        text.set_fontweight("bold" if name in strong else "normal")
    figure.set_figwidth(figure.get_figwidth() + _width_of(found))


def _width_of(legend: Legend) -> float:
    """What a legend takes on the right of a figure, in inches."""
    longest = max((len(text.get_text()) for text in legend.get_texts()), default=0)
    title = max(map(len, legend.get_title().get_text().split("\n")))
    return 0.35 + 0.066 * max(longest, 0.8 * title)


def height_of_legend(count: int) -> float:
    """Of a legend of so many entries, with what is around it, in inches."""
    return LEGEND_LINE * count + 0.8


def heading(figure: Figure, *texts: str) -> None:
    """What all panels are about, above them and beside the legend, small; each text begins a line."""
    width = figure.get_figwidth()
    room = width - sum(map(_width_of, figure.legends))
    lines = [plain_lines(text, max(30, int(room / HEADING_LETTER))) for text in texts]
    figure.suptitle("\n".join(lines), x=room / width / 2, fontsize=7, color="#555555")


def formats_of(names: Sequence[str]) -> Sequence[str]:
    """Formats of files as typed; raises UsageError for others, or none."""
    for kind in names:
        if kind not in FORMATS:
            raise UsageError(f"--format: no {kind!r}.{did_you_mean(kind, FORMATS)} There is {', '.join(FORMATS)}")
    if not names:
        raise UsageError(f"--format is empty; give some of {', '.join(FORMATS)}")
    return names


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that its suffix says, with fonts embedded; the file is complete or absent.

    The same figure makes the same bytes, whenever it is written.

    Raises:
        UsageError: a format that is none of ``FORMATS``, or a folder that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"{path.name} is no {' or '.join(FORMATS)} file; choose one of these suffixes")
    buffer = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else {}
    with settings(), warnings.catch_warnings():
        # Letters that no font of the machine has are boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=DOTS, metadata=metadata)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(
            f"{path.parent} cannot be written ({error.strerror}); name another folder with --out"
        ) from error
