"""Which images of a cell are still to be attacked or scored: arithmetic of ranges."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Images that lack the same metrics and whose attack is known or not.

    Attributes:
        rows: their positions, all in one batch.
        lacking: the metrics, by their position in the cell.
        kept: the images that the results of the attack are kept with; None where they have to be attacked.
    """

    rows: range
    lacking: tuple[int, ...]
    kept: range | None


def batches(total: int, size: int) -> list[range]:
    """All images, in batches that start at multiples of ``size``."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def usable(parts: Iterable[range], total: int, whole: int = 0) -> list[range]:
    """Parts that do not overlap, in order: of those that start at the same image the longest.

    What is computed later for the images between them changes nothing about which are taken.

    Args:
        parts: that there are.
        total: images of the cell; a part that goes beyond is none of it.
        whole: size of batches that must not be taken apart, of an attack whose result depends on the batch; else 0.
    """
    found: list[range] = []
    for part in sorted(set(_as_pairs(parts)), key=lambda pair: (pair[0], -pair[1])):
        start, stop = part
        apart = whole and (start % whole or (stop % whole and stop != total))
        if stop <= total and not apart and start >= (found[-1].stop if found else 0):
            found.append(range(start, stop))
    return found


def stretches(batch: range, covered: Mapping[int, Sequence[range]], kept: Sequence[range]) -> list[Stretch]:
    """What is left of a batch, in order.

    Args:
        batch: positions of its images.
        covered: by metric, the images whose scores are there, see ``usable``.
        kept: the images whose attack is known, see ``usable``.
    """
    known = [part for parts in covered.values() for part in parts]
    edges = {batch.start, batch.stop, *(edge for part in [*known, *kept] for edge in (part.start, part.stop))}
    cuts = sorted(edge for edge in edges if batch.start <= edge <= batch.stop)
    found: list[Stretch] = []
    for start, stop in itertools.pairwise(cuts):
        lacking = tuple(metric for metric, parts in covered.items() if _holder(parts, start) is None)
        if not lacking:
            continue
        new = Stretch(rows=range(start, stop), lacking=lacking, kept=_holder(kept, start))
        last = found[-1] if found else None
        if last and last.rows.stop == start and (last.lacking, last.kept) == (new.lacking, new.kept):
            found[-1] = Stretch(rows=range(last.rows.start, stop), lacking=lacking, kept=new.kept)
        else:
            found.append(new)
    return found


def _as_pairs(parts: Iterable[range]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parts]


def _holder(parts: Sequence[range], row: int) -> range | None:
    return next((part for part in parts if row in part), None)
