"""Cells of a LaTeX table: pieces of text with a face, of which both the LaTeX and the width are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attrobust.benchmark.report.paper.glyphs import escape, width

Face = Literal["plain", "bold", "under", "italic", "small", "raised"]
FAMILY: dict[Face, str] = {
    "plain": "cmr",
    "bold": "cmbx",
    "under": "cmr",
    "italic": "cmti",
    "small": "cmr",
    "raised": "cmr",
}
AROUND: dict[Face, tuple[str, str]] = {
    "plain": ("", ""),
    "bold": ("\\textbf{", "}"),
    "under": ("\\underline{", "}"),
    "italic": ("\\emph{", "}"),
    "small": ("{\\scriptsize ", "}"),
    "raised": ("\\textsuperscript{", "}"),
}
SCRIPT, RAISED = 7, 6
"""Sizes in points of intervals, and of the marks behind a number."""


@dataclass(frozen=True)
class Piece:
    """Some text in one face."""

    text: str
    face: Face = "plain"

    @property
    def tex(self) -> str:
        """Its LaTeX."""
        before, after = AROUND[self.face]
        return f"{before}{escape(self.text)}{after}"

    def width(self, size: int) -> float:
        """Its width in points, in a table whose text has a size in points."""
        sizes: dict[Face, int] = {"small": SCRIPT, "raised": RAISED}
        return width(self.text, f"{FAMILY[self.face]}{sizes.get(self.face, size)}")


Entry = tuple[Piece, ...]
"""What one cell of a table holds."""


def plain(text: str, face: Face = "plain") -> Entry:
    """A cell of one piece; an empty one for an empty text."""
    return (Piece(text, face),) if text else ()


def tex(entry: Entry) -> str:
    """The LaTeX of a cell."""
    return "".join(piece.tex for piece in entry)


def width_of(entry: Entry, size: int) -> float:
    """Its width in points."""
    return sum(piece.width(size) for piece in entry)


def widest(entries: Sequence[Entry], size: int) -> float:
    """The width in points of the widest of some cells; 0 where there are none."""
    return max((width_of(entry, size) for entry in entries), default=0.0)
