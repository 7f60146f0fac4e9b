"""What a mean over images hides: its worst image, the tail, and whose finds it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Floats, Integers

TAIL = 0.05


@dataclass(frozen=True, kw_only=True)
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
    images = np.flatnonzero(np.isfinite(scores))
    if len(images) == 0:
        nan = float("nan")
        return Spread(worst=nan, image=None, tail=nan, median=nan, best=nan)
    defined = scores[images]
    place = int(defined.argmin() if higher_is_better else defined.argmax())
    low, median, high = (float(value) for value in np.quantile(defined, [TAIL, 0.5, 1 - TAIL]))
    tail, best = (low, high) if higher_is_better else (high, low)
    return Spread(worst=float(defined[place]), image=int(images[place]), tail=tail, median=median, best=best)


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
