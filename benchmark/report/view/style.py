"""How a table is set: what stands beside a number, and what its LaTeX looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Intervals = Literal["small", "pm", "none"]
INTERVALS: tuple[Intervals, ...] = ("small", "pm", "none")


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a table is set.

    Attributes:
        intervals: beside a number its 95 % interval in brackets, the larger distance to one of its ends, or nothing.
        second: whether the LaTeX underlines the next rank after the best.
        transpose: whether methods are the columns of the LaTeX.
        two_column: whether the LaTeX is for an article of two columns.
        label, caption: of the LaTeX, the caption in LaTeX; empty for those that are made of the run.
        is_view: whether a part of a table is shown, or another form of it.
    """

    intervals: Intervals = "small"
    second: bool = False
    transpose: bool = False
    two_column: bool = False
    label: str = ""
    caption: str = ""
    is_view: bool = False


DEFAULT = Style()
