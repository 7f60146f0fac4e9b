"""Small pictures for a page: an image before and after an attack and its maps side by side, and which a page shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Colormap
from PIL import Image as Pillow

from attrobust.arrays import Bytes, Floats
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.registered import check_registered
from attrobust.benchmark.boards.sample import StoredCell, cells_of
from attrobust.benchmark.gallery.attacked import CellPictures
from attrobust.benchmark.gallery.draw import colours, limit_of
from attrobust.benchmark.gallery.picture import Picture
from attrobust.benchmark.report.page.payload import payload
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.thumbnails import Thumbnails
from attrobust.naming.safe import reason
from attrobust.types import UsageError

LARGEST = 64
"""Width of an image in a small picture at most; larger ones are averaged over squares."""
GREYS = 64
"""Of the 256 colours of a small picture of a grey image; the others are for maps. All would take twice the bytes."""
GAP, BETWEEN = 2, 128
"""Pixels between two images, and their grey."""


def strip(picture: Picture) -> bytes:
    """A PNG file: clean image, attacked image, map of the clean one, map of the attacked one; maps on one scale."""
    limit = limit_of(picture)
    low = -limit if picture.signed else 0.0
    shades = colours(signed=picture.signed)
    maps = [
        np.asarray(shades((values - low) / (limit - low), bytes=True), dtype=np.uint8)[..., :3]
        for values in (np.ma.masked_invalid(picture.clean_map), np.ma.masked_invalid(picture.attacked_map))
    ]
    tiles = [_small(tile) for tile in (_pixels(picture.clean), _pixels(picture.attacked), *maps)]
    gap = np.full((len(tiles[0]), GAP, 3), BETWEEN, dtype=np.uint8)
    joined = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    shown = Pillow.fromarray(joined)
    if len(picture.clean) != 3:
        shown = shown.quantize(palette=_palette(shades), dither=Pillow.Dither.NONE)
    shown.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _palette(shades: Colormap) -> Pillow.Image:
    greys = np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None].repeat(3, axis=1)
    colours = np.asarray(shades(np.linspace(0, 1, 256 - GREYS), bytes=True), dtype=np.uint8)[:, :3]
    palette = Pillow.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, colours]).tobytes())
    return palette


def _pixels(pixels: Floats) -> Bytes:
    """Pixels C×H×W as bytes H×W×3."""
    shown = pixels if len(pixels) == 3 else pixels.mean(axis=0, keepdims=True).repeat(3, axis=0)
    return (255 * np.clip(np.moveaxis(shown, 0, 2), 0, 1)).round().astype(np.uint8)


def _small(tile: Bytes) -> Bytes:
    height, width = tile.shape[:2]
    factor = max(height, width) / LARGEST
    if factor <= 1:
        return tile
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return np.asarray(Pillow.fromarray(tile).resize(size, Pillow.Resampling.BOX), dtype=np.uint8)


def keep(pictures: Sequence[Picture], stores: Mapping[str, Store]) -> None:
    """Write small pictures into the folders of the runs that they are of; not those whose score is another one now.

    Args:
        pictures: of any of the runs.
        stores: by what tells a run from others of a sweep.
    """
    for picture in (picture for picture in pictures if picture.scores[0].agrees):
        save = Thumbnails(stores[picture.table].folder).save
        save(picture.row, picture.scores_sha256, picture.image, strip(picture))


class PagePictures:
    """Small pictures of the images that a page names as the worst, as far as runs kept their attacks.

    Args:
        boards: of the page.
        stores: of its runs, by what tells them apart.
        folder: of the run, sweep or board.
        data_root: the folder that datasets are read from.

    Attributes:
        problems: one line for every cell whose pictures cannot be made.
        cells: whose pictures can be made.

    Raises:
        UsageError: a plug-in that the runs were made with is not loaded.
    """

    def __init__(
        self, boards: Sequence[Leaderboard], stores: dict[str, Store], folder: Path, data_root: Path | None
    ) -> None:
        self._stores, self.problems = stores, list[str]()
        self.cells: list[tuple[StoredCell, CellPictures]] = []
        shown, opener = _shown(boards), Opener(folder, data_root)
        pictured = [(cell, list(_wanted(cell, shown))) for cell in cells_of(stores)]
        check_registered(folder, [cell for cell, wanted in pictured if wanted])
        for cell, several in pictured:
            for wanted in several:
                try:
                    found = CellPictures(cell, opener, wanted, again=False)
                except UsageError as error:
                    self.problems.append(f"no pictures of {cell}: {error}")
                    break
                if found.count:
                    self.cells.append((cell, found))

    def write(self, done: Callable[[int], object] = lambda _: None) -> int:
        """Make and keep them; returns how many there are.

        Args:
            done: called with 1 after each cell.
        """
        count = 0
        for cell, found in self.cells:
            try:
                made = list(found.pictures())
            except Exception as error:  # Whatever an item raises is said of its cell.
                self.problems.append(f"no pictures of {cell}: {reason(error)}")
            else:
                keep(made, self._stores)
                count += len(made)
            done(1)
        return count


def _shown(boards: Sequence[Leaderboard]) -> dict[str, dict[int, None]]:
    """By fingerprint of a row the images that a page names as its worst, in the whole list and in subsets."""
    found: dict[str, dict[int, None]] = {}
    cells: Sequence[Mapping[int, Mapping[str, object]]] = payload(boards)["cells"]  # type: ignore[assignment]
    for number in (number for row in cells for number in row.values()):
        worst: Sequence[tuple[int, str]] = number.get("worst", ())  # type: ignore[assignment]
        found.setdefault(str(number.get("row")), {}).update(dict.fromkeys(image for image, _ in worst))
    return found


def _wanted(cell: StoredCell, shown: Mapping[str, Mapping[int, None]]) -> Iterator[dict[int, list[int]]]:
    """Images of a cell by metric: of all metrics together, or of each for itself where stronger images contest some."""
    if not (cell.explainer and cell.attack and cell.rows[0].metric.scope == "attack"):
        return
    images = {index: list(shown.get(row.fingerprint, ())) for index, row in enumerate(cell.standing)}
    images = {index: found for index, found in images.items() if found}
    if any(row.contests for row in cell.standing):
        yield from ({index: found} for index, found in images.items())
    elif images:
        yield images
