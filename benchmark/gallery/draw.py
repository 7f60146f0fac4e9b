"""Pictures as a matplotlib figure: a row for each, images on the left, maps on the right, and what they scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from attrobust.arrays import Floats
from attrobust.benchmark.figures import style
from attrobust.benchmark.figures.choose import NothingToDrawError
from attrobust.benchmark.gallery.picture import ORIGINS, Picture

FACTOR = 10
"""By which differences of pixels are enlarged."""
SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
"""Colour maps of maps without and with signs, told apart by all kinds of colour vision."""
COLUMNS = ("clean", "attacked", f"difference ×{FACTOR}", "map of clean", "map of attacked")
SIDE, GAP, BAR, TICKS, TEXT = 1.05, 0.05, 0.05, 0.34, 1.9
"""In inches: an image, what is between two, a colour bar, its numbers, and the words beside a row."""
WIDTH = 5 * (SIDE + GAP) + GAP + BAR + TICKS + TEXT
LINE, HEAD = 0.115, 0.14
"""Heights of a line of these words, and of one above the rows."""
ACROSS = 40
"""Letters of a line of these words."""
LETTERS = 150
"""Of a line above the rows."""
HEADING: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": "#555555"}
Rows = Literal["image", "method"]


def gallery(pictures: Sequence[Picture], *, by: Rows = "image") -> Figure:
    """A row for each picture: clean and attacked image, their difference, both maps, and the scores.

    Clean and attacked map of a row have one colour scale: from zero for maps without signs, and centred at zero for
    maps with signs; nothing is cut off. A difference of zero is mid-grey; black and white are ∓ 1 / ``FACTOR``.

    Args:
        pictures: from top to bottom.
        by: what they share, which the head of the figure names; each row names the other.

    Raises:
        NothingToDrawError: there are none.
    """
    if not pictures:
        raise NothingToDrawError("there is no picture")
    mixed = len({picture.origin for picture in pictures}) > 1
    words = [_words(picture, by, mixed=mixed) for picture in pictures]
    heights = [max(SIDE, LINE * len(lines)) + 2 * GAP for lines in words]
    head = [line for text in _head(pictures, by) for line in style.plain_lines(text, LETTERS).split("\n")]
    top = HEAD * (len(head) + 1.2) + GAP
    with style.settings(grid=False):
        figure = Figure(figsize=(WIDTH, top + sum(heights)))
        below = top
        for picture, lines, height in zip(pictures, words, heights, strict=True):
            _row(figure, picture, lines, below)
            below += height
        for axis, title in zip(figure.axes, COLUMNS, strict=False):
            axis.set_title(title, fontsize=7, pad=3)
        for number, line in enumerate(head):
            figure.text(0.5, 1 - HEAD * (number + 0.5) / figure.get_figheight(), line, **HEADING)
    return figure


def _head(pictures: Sequence[Picture], by: Rows) -> list[str]:
    first = pictures[0]
    where = f"{first.table}: " if first.table else ""
    ranks = list(dict.fromkeys(item.chosen for item in pictures if isinstance(item.chosen, str)))
    metric = first.scores[0].metric.title
    if by == "image":
        shared = f"each network's {ranks[0]} image by {metric}" if ranks else f"image {first.image}, chosen by position"
    else:
        by_position = ["images by position"] if any(isinstance(item.chosen, int) for item in pictures) else []
        shared = ", ".join([first.method, *by_position, *(f"{' and '.join(ranks)} by {metric}" for _ in ranks[:1])])
    origins = list(dict.fromkeys(item.origin for item in pictures))
    clipped = any(np.abs(item.attacked - item.clean).max() > 1 / FACTOR + 1e-9 for item in pictures)
    limit = f"mid-grey is 0, black and white ∓{1 / FACTOR:g}" + (" and beyond" if clipped else "")
    attacks = " or ".join(filter(None, (ORIGINS[origin] for origin in origins)))
    return [
        f"{where}{first.dataset}, {first.threat}; {first.explainer} under {first.attack}; {shared}",
        f"Difference ×{FACTOR}: {limit}. Maps ({first.reduction}): one scale per row."
        + (f" Attacks {attacks}." if attacks else ""),
    ]


def _words(picture: Picture, by: Rows, *, mixed: bool) -> list[tuple[str, str]]:
    """Lines beside a picture, with their weights; they say where its attacked image is from where that is ``mixed``."""
    lines = [(picture.method if by == "image" else picture.chosen_words, "bold")]
    if by == "image" and isinstance(picture.chosen, str):
        lines.append((picture.chosen_words, "normal"))
    true = "" if picture.explained == picture.true else f" (true class: {picture.true})"
    lines.append((f"explained class: {picture.explained}{true}", "normal"))
    if mixed:
        lines.append((f"attack {ORIGINS[picture.origin]}", "normal"))
    lines += [(score.text, "normal") for score in picture.scores]
    lines += [(remark, "bold") for remark in picture.remarks]
    return [(line, weight) for text, weight in lines for line in style.plain_lines(text, ACROSS).split("\n")]


def _row(figure: Figure, picture: Picture, lines: Sequence[tuple[str, str]], below: float) -> None:
    """A picture, so many inches below the top: five images, the colour scale of the maps, and words."""
    difference = 0.5 + 0.5 * FACTOR * (picture.attacked - picture.clean)
    for column, pixels in enumerate((picture.clean, picture.attacked, difference)):
        _image(_axis(figure, column, below), pixels)
    limit = limit_of(picture)
    low = -limit if picture.signed else 0.0
    for column, values in enumerate((picture.clean_map, picture.attacked_map), start=3):
        axis = _axis(figure, column, below)
        shown = axis.imshow(values, cmap=colours(signed=picture.signed), vmin=low, vmax=limit)
    scale = _axis(figure, 5, below, width=BAR)
    bar = figure.colorbar(shown, cax=scale, ticks=[low, 0.0, limit] if picture.signed else [low, limit])
    bar.outline.set_visible(False)
    scale.set_yticklabels([f"{value:.2g}".replace("-", "−") for value in bar.get_ticks()], fontsize=5.5)
    scale.tick_params(length=1.5, pad=1.5, width=0.5)
    left = GAP + 5 * (SIDE + GAP) + BAR + TICKS
    for number, (line, weight) in enumerate(lines):
        height = 1 - (below + LINE * number) / figure.get_figheight()
        figure.text(left / WIDTH, height, line, va="top", fontsize=6.5, fontweight=weight)


def _axis(figure: Figure, column: int, below: float, *, width: float = SIDE) -> Axes:
    """A place for an image, or for a bar, without ticks and frame."""
    high = figure.get_figheight()
    left = GAP + column * (SIDE + GAP)
    axis = figure.add_axes((left / WIDTH, 1 - (below + SIDE) / high, width / WIDTH, SIDE / high))
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def limit_of(picture: Picture) -> float:
    """The largest absolute value of both maps: the end of their colour scale; 1 where all values are 0."""
    values = np.abs(np.concatenate([picture.clean_map.ravel(), picture.attacked_map.ravel()]))
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def colours(*, signed: bool) -> Colormap:
    """Of maps; grey where a value is not finite."""
    return mpl.colormaps[DIVERGING if signed else SEQUENTIAL].with_extremes(bad=style.GREY)


def _image(axis: Axes, pixels: Floats) -> None:
    """Pixels C×H×W: in grey for one channel, in colour for three, else their mean in grey."""
    if len(pixels) == 3:
        axis.imshow(np.clip(np.moveaxis(pixels, 0, 2), 0, 1))
    else:
        axis.imshow(pixels.mean(axis=0), cmap="gray", vmin=0, vmax=1)
