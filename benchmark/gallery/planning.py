"""Where the attacked images of a cell come from: kept by its run, handed in by a contest, or attacked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attrobust.benchmark.boards.recompute import in_a_row
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.gallery.picture import Origin
from attrobust.benchmark.store.pieces import Pieces


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images of a cell that are looked at together.

    Attributes:
        rows: their positions; with an attack whose result depends on the batch also those beside them.
        origin: of the attacked images.
        part: for kept images, those that lie in one file.
        contest: sha256 of the images of a contest; empty for others.
    """

    rows: range
    origin: Origin
    part: range = range(0)
    contest: str = ""


def planned(cell: StoredCell, metric: int, places: Sequence[int], name: str) -> Iterator[Batch]:
    """How the images at some positions are obtained.

    Args:
        cell: on disk.
        metric: position of the metric whose scores decide which contest an image is from.
        places: increasing positions.
        name: of the files of its kept images, see ``run.pieces.name_of``.
    """
    pieces, left = Pieces(cell.store.folder), []
    kept = [part for part in pieces.kept(name) if pieces.results(name, part)]
    contests = _contests(cell, metric)
    for place in places:
        part = next((part for part in kept if place in part), None)
        one = range(place, place + 1)
        if place in contests:
            yield Batch(rows=one, origin="contest", contest=contests[place])
        elif part is not None:
            yield Batch(rows=one, origin="kept", part=part)
        else:
            left.append(place)
    if size := cell.rows[0].cell.batch_size:
        starts = dict.fromkeys(place - place % size for place in left)
        ranges = [range(start, min(start + size, cell.images)) for start in starts]
    else:
        ranges = in_a_row(left)
    yield from (Batch(rows=rows, origin="computed again") for rows in ranges)


def _contests(cell: StoredCell, metric: int) -> dict[int, str]:
    """By position, the file of the contest that the score of an image is from."""
    base, standing = cell.rows[metric], cell.standing[metric]
    if not standing.contests:
        return {}
    own = len(cell.store.load(base).members)
    members = enumerate(cell.store.load(standing).worst.tolist())
    return {place: standing.contests[member - own].images_sha256 for place, member in members if member >= own}
