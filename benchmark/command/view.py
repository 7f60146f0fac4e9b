"""The options of ``report`` that show a part of a table, or another form of it, in a folder of its own."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.view.dress import Dress
from attrobust.benchmark.report.view.keep import Keep
from attrobust.benchmark.report.view.selection import Selection
from attrobust.benchmark.report.view.style import DEFAULT, Style
from attrobust.benchmark.store.store import Store
from attrobust.naming.file_names import real, unsuitable
from attrobust.naming.spec import fingerprint
from attrobust.types import UsageError

VIEWS = "views"
"""The folder of a run that its views stand in."""
DIGITS = 6
LABEL = re.compile(r"[A-Za-z0-9:._/+-]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
UNESCAPED = re.compile(r"(?<!\\)(?:\\\\)*[%#&]")


@dataclass(frozen=True, kw_only=True)
class View:
    """What is shown of tables, and how.

    Attributes:
        selection, dress, style: rows and columns; names and digits; what stands beside numbers.
        name: of its folder.
    """

    selection: Selection
    dress: Dress
    style: Style
    name: str

    @property
    def is_whole(self) -> bool:
        """Whether it is a run's own table."""
        return not self.style.is_view

    def keeps(self, tables: Sequence[Sequence[Store]]) -> Sequence[Keep | None]:
        """See ``Selection.keeps``; raises UsageError where no table is left."""
        where = " and ".join(str(stores[0].folder) for stores in tables)
        found = self.selection.keeps(tables, where)
        if tables and not any(found):
            raise UsageError(f"no table of {where} has both these rows and these columns")
        return found

    def of(self, boards: Sequence[Leaderboard]) -> list[Leaderboard]:
        """Tables as they are shown."""
        where = " and ".join(str(store.folder) for board in boards for store in board.stores)
        return [replace(board, style=self.style) for board in self.dress.on(boards, where)]


def view_of(options: argparse.Namespace) -> View:
    """The view that is asked for.

    Raises:
        UsageError: a label, a caption or a name that cannot be one.
    """
    if options.label and not LABEL.fullmatch(options.label):
        raise UsageError(f"--label {options.label!r} may have letters, digits and :._/+- only")
    if options.name and not NAME.fullmatch(options.name):
        raise UsageError(f"--name {options.name!r} may have letters, digits and ._- only, a letter or digit first")
    if options.name and (problem := unsuitable(options.name)):
        raise UsageError(f"--name {options.name!r} {problem}; choose another")
    _check_caption(options.caption)
    selection = Selection(
        rows=options.rows,
        explainers=options.explainers,
        attacks=options.attacks,
        metrics=options.metrics,
        columns=options.columns,
        subset=options.subset,
    )
    dress = Dress(rename=tuple(options.rename), digits=options.digits)
    style = Style(
        intervals=options.intervals or DEFAULT.intervals,
        second=options.second_best,
        transpose=options.transpose,
        two_column=options.two_column,
        label=options.label,
        caption=options.caption,
    )
    asked = (selection, dress, style) != (Selection(), Dress(), DEFAULT) or bool(options.name or options.intervals)
    digest = fingerprint([repr(selection), repr(dress), repr(style)])[:DIGITS]
    return View(
        selection=selection,
        dress=dress,
        style=replace(style, is_view=asked),
        name=options.name or f"view-{digest}",
    )


def folder_of(view: View, runs: Sequence[Path], out: Path | None) -> Path:
    """Where tables go.

    Raises:
        UsageError: a view would replace the tables of a run.
    """
    if view.is_whole:
        return out or runs[0]
    if out is not None and real(out) in {real(run) for run in runs}:
        raise UsageError(f"--out {out} holds the run's own tables, which a view does not replace; name another folder")
    return out or runs[0] / VIEWS / view.name


def _check_caption(text: str) -> None:
    """Raise UsageError where LaTeX would not come to the end of a caption."""
    depth, bare = 0, re.sub(r"\\.", "", text)
    for char in bare:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            break
    if depth or UNESCAPED.search(text) or bare.count("$") % 2 or text.endswith("\\"):
        raise UsageError(f"--caption {text!r} is no whole LaTeX: close braces and $, and write \\%, \\& and \\#")
