"""The galleries of runs: which pictures share a figure, and what its files are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.registered import check_registered
from attrobust.benchmark.boards.sample import StoredCell, cells_of
from attrobust.benchmark.gallery.attacked import CellPictures
from attrobust.benchmark.gallery.draw import Rows
from attrobust.benchmark.gallery.picking import Wanted, metric_of, picked
from attrobust.benchmark.gallery.picture import Picture
from attrobust.naming.file_names import as_part, free_name
from attrobust.types import UsageError

ROWS = 12
"""Of a figure at most; more make further figures."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Pictures of one figure.

    Attributes:
        name: of its files, without a suffix.
        pictures: its rows.
    """

    name: str
    pictures: tuple[Picture, ...]


class Gallery:
    """The pictures of a run, a sweep or a board.

    Args:
        run: its folder.
        wanted: which.
        data_root: the folder that datasets are read from.

    Attributes:
        cells: whose pictures can be made.
        count: of pictures that there will be.
        attacked_again: images that have to be attacked again.
        seconds: that these attacks took where the run was made.
        problems: one line for every cell or image without a picture.

    Raises:
        UsageError: no finished run, something is asked for that it does not have, or a plug-in is not loaded.
    """

    def __init__(self, run: Path, wanted: Wanted, data_root: Path | None = None) -> None:
        self.problems: list[str] = []
        self.cells: list[tuple[StoredCell, CellPictures]] = []
        chosen, opener = picked(cells_of(stores_of(run)), wanted), Opener(run, data_root)
        check_registered(run, chosen)
        for cell in chosen:
            try:
                found = CellPictures(cell, opener, {metric_of(cell, wanted.metric): wanted.images})
            except UsageError as error:
                self.problems.append(f"no pictures of {cell}: {error}")
                continue
            self.problems += [f"{cell}: {line}" for line in found.missing]
            self.cells.append((cell, found))
        self.count = sum(found.count for _, found in self.cells)
        self.attacked_again = sum(found.attacked_again for _, found in self.cells)
        self.seconds = sum(found.seconds for _, found in self.cells)

    def pictures(self, done: Callable[[int], object] = lambda _: None) -> list[Picture]:
        """All pictures, cell by cell; a cell that fails is a problem, and the others are still made.

        Args:
            done: called with the number of pictures after each cell.
        """
        pictures: list[Picture] = []
        for cell, found in self.cells:
            try:
                pictures += found.pictures()
            except Exception as error:  # Whatever an item raises is said of its cell.
                problem = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                self.problems.append(f"no pictures of {cell}: {problem}".splitlines()[0][:300])
            done(found.count)
        return pictures


def pages(pictures: Sequence[Picture], by: Rows) -> Iterator[Page]:
    """Pictures as figures: of one image of all networks, or of all images of one network.

    Args:
        pictures: of any runs.
        by: what the rows of a figure share.
    """
    groups: dict[tuple[str, ...], list[Picture]] = {}
    for item in pictures:
        shared = str(item.chosen) if by == "image" else item.method
        groups.setdefault((item.table, item.explainer, item.attack, shared), []).append(item)
    if by == "method":
        groups = {key: _once(found) for key, found in groups.items()}
    used: set[str] = set()
    for (table, explainer, attack, shared), found in groups.items():
        last = f"image-{shared}" if by == "image" and shared.isdigit() else shared
        parts = [as_part(part) for part in (table, explainer, attack, last)]
        for start in range(0, len(found), ROWS):
            number = f"part-{start // ROWS + 1}" if len(found) > ROWS else ""
            name = free_name("-".join(filter(None, [*parts, number])), used)
            yield Page(name=name, pictures=tuple(found[start : start + ROWS]))


def _once(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures of different images; of an image that has a rank too, the one that says so."""
    found: dict[int, Picture] = {}
    for item in pictures:
        if item.image not in found or isinstance(found[item.image].chosen, int):
            found[item.image] = item
    return list(found.values())
