"""Intervals and ties over images, from per-image scores."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from benchmark.store import Floats, Integers

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over images with its 95 % interval; NaN where no image has a score.

    Attributes:
        mean, low, high: of the images with a defined score.
        n: images asked for.
        defined: images with a score.
    """

    mean: float
    low: float
    high: float
    n: int
    defined: int


def estimate(scores: Floats) -> Estimate:
    """Mean and 95 % interval over images; scores that are NaN or infinite are left out.

    The interval is the percentile bootstrap (2,000 resamples, fixed seed); for scores that are all 0 or 1, such as
    accuracy, it is Wilson's, which stays honest where every image is right.

    Args:
        scores: one number per image.
    """
    defined = scores[np.isfinite(scores)]
    if len(defined) == 0:
        nan = float("nan")
        return Estimate(mean=nan, low=nan, high=nan, n=len(scores), defined=0)
    if np.isin(defined, (0.0, 1.0)).all():
        low, high = wilson(int(defined.sum()), len(defined))
    else:
        low, high = _bootstrap(defined)
    return Estimate(mean=float(defined.mean()), low=low, high=high, n=len(scores), defined=len(defined))


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


def distinguishable(a: Floats, b: Floats) -> bool:
    """Whether the mean difference of two rows excludes 0 (paired percentile bootstrap over images, 95 %).

    Args:
        a, b: defined scores of the same images in the same order, at least one.
    """
    difference = a - b
    if not difference.any():
        return False
    low, high = _bootstrap(difference)
    return not low <= 0.0 <= high


def wilson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a proportion that is ``hits`` of ``n``."""
    interval = scipy.stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def _bootstrap(values: Floats) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean."""
    means = _resampled_means(values)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _resampled_means(values: Floats) -> Floats:
    """Means of RESAMPLES draws with replacement; the draws depend only on the number of images, so rows are paired."""
    n = len(values)
    blocks = _draws(n) if n <= 4096 else _generate(n)
    means: Floats = np.concatenate([counts @ values for counts in blocks]) / n
    return means


@functools.lru_cache(maxsize=4)
def _draws(n: int) -> tuple[Floats, ...]:
    return tuple(_generate(n))


def _generate(n: int) -> Iterator[Floats]:
    """How often each of n images is drawn in each resample, in blocks of resamples that fit in memory."""
    generator = np.random.Generator(np.random.PCG64(0))
    size = max(1, 4_000_000 // n)
    for start in range(0, RESAMPLES, size):
        block = min(size, RESAMPLES - start)
        yield generator.multinomial(n, np.full(n, 1.0 / n), size=block).astype(np.float64)
