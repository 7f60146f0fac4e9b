"""What a mean over images hides: its worst image, the tail, and whose finds it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Floats, Integers
from attrobust.benchmark.statistics.quantiles import quantile

TAIL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Quantiles of per-image scores, linear between two; NaN where no image has a score.

    Attributes:
        worst: the worst score: the smallest of a metric of which higher is better, otherwise the largest.
        image: which image has it, the first of several; None where none has a score.
        tail: the quantile that 5 % of the images are worse than.
        median: half of the images are worse.
        best: the quantile that 5 % of the images are better than.
    """

    worst: float
    image: int | None
    tail: float
    median: float
    best: float


def spread(scores: Floats, *, higher_is_better: bool) -> Spread:
    """Worst image and quantiles of the scores; those that are NaN or infinite are left out.

    Args:
        scores: one number per image.
        higher_is_better: of the metric.
    """
    return spreads([scores], [higher_is_better])[0]


def spreads(scores: Sequence[Floats], higher_is_better: Sequence[bool]) -> list[Spread]:
    """Many at once, see ``spread``; quantiles of as many scores are taken together."""
    images = [np.flatnonzero(np.isfinite(row)) for row in scores]
    nan = float("nan")
    found = [Spread(worst=nan, image=None, tail=nan, median=nan, best=nan)] * len(images)
    alike: dict[int, list[int]] = {}
    for index, kept in enumerate(images):
        if len(kept):
            alike.setdefault(len(kept), []).append(index)
    for members in alike.values():
        whole = [len(images[index]) == len(scores[index]) for index in members]
        rows = [
            scores[index] if all_ else scores[index][images[index]] for index, all_ in zip(members, whole, strict=True)
        ]
        ordered = np.sort(rows, axis=1)
        lows, medians, highs = (quantile(ordered, np.full(len(rows), at)).tolist() for at in (TAIL, 0.5, 1 - TAIL))
        for place, index in enumerate(members):
            low, median, high = lows[place], medians[place], highs[place]
            worst = int(rows[place].argmin() if higher_is_better[index] else rows[place].argmax())
            tail, best = (low, high) if higher_is_better[index] else (high, low)
            image = int(images[index][worst])
            found[index] = Spread(worst=float(rows[place][worst]), image=image, tail=tail, median=median, best=best)
    return found


def shares(worst: Integers, members: Sequence[str]) -> dict[str, float]:
    """Of every member of an attack the share of images whose score is its; empty where it has only one member.

    Images with an undefined score, and those in which nobody found anything, count as nobody's.

    Args:
        worst: for each image an index into ``members``, or -1.
        members: names.
    """
    if len(members) < 2:
        return {}
    return {name: int((worst == index).sum()) / len(worst) for index, name in enumerate(members)}
