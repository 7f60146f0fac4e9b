"""Means over images with their intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from attrobust.arrays import Floats
from attrobust.benchmark.statistics.quantiles import quantile
from attrobust.benchmark.store.schema import How

Counts = npt.NDArray[np.uint8]
RESAMPLES = 2000
TILE = 32
"""Rows that are resampled together."""
KEPT = 16_384
"""The draws for so many images, 32 MB, are kept for the next scores."""
LEVEL = 0.95
NORMAL = float(special.ndtri((1 + LEVEL) / 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over images with its 95 % interval; NaN where no image has a score.

    Attributes:
        mean, low, high: of the images with a defined score; one image has a mean and no interval, unless it is 0 or 1.
        n: images asked for.
        defined: images with a score.
    """

    mean: float
    low: float
    high: float
    n: int
    defined: int


def estimate(scores: Floats, how: How = "percentile", *, unit: bool = False) -> Estimate:
    """Mean and 95 % interval over images; scores that are NaN or infinite are left out.

    The interval is a bootstrap (2,000 resamples, fixed seed), see ``bootstrap``; where scores cannot leave [0, 1] and
    are all 0 or 1, such as accuracy, it is Wilson's, which stays honest where every image is right.

    Args:
        scores: one number per image.
        how: see ``bootstrap``.
        unit: whether the smallest and the largest possible score are 0 and 1.
    """
    return estimates([scores], [unit], how)[0]


def estimates(scores: Sequence[Floats], units: Sequence[bool], how: How = "percentile") -> list[Estimate]:
    """Many means and intervals, see ``estimate``; those of as many images are resampled together.

    Args:
        scores: for each, one number per image.
        units: for each, see ``estimate``.
        how: see ``bootstrap``.
    """
    finite = [row if (known := np.isfinite(row)).all() else row[known] for row in scores]
    bounds = [(float("nan"), float("nan"))] * len(finite)
    drawn: dict[int, list[int]] = {}
    for index, (row, unit) in enumerate(zip(finite, units, strict=True)):
        if unit and len(row) and _all_zero_or_one(row):
            bounds[index] = wilson(int(row.sum()), len(row))
        elif len(row) > 1:
            drawn.setdefault(len(row), []).append(index)
    for members in drawn.values():
        low, high = bootstrap(np.stack([finite[index] for index in members]), how)
        for index, pair in zip(members, zip(low.tolist(), high.tolist(), strict=True), strict=True):
            bounds[index] = pair
    return [
        Estimate(
            mean=float(row.mean()) if len(row) else float("nan"), low=low, high=high, n=len(all_), defined=len(row)
        )
        for all_, row, (low, high) in zip(scores, finite, bounds, strict=True)
    ]


def _all_zero_or_one(scores: Floats) -> bool:
    return bool(((scores == 0.0) | (scores == 1.0)).all())


def wilson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a proportion that is ``hits`` of ``n``.

    ``(p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = hits/n`` (Wilson, JASA 22, 1927).
    """
    p, z = hits / n, float(special.ndtri((1 + level) / 2))
    whole = 2 * (n + z**2)
    center, half = (2 * n * p + z**2) / whole, z / whole * math.sqrt(4 * n * p * (1 - p) + z**2)
    return 0.0 if hits == 0 else center - half, 1.0 if hits == n else center + half


def bootstrap(values: Floats, how: How) -> tuple[Floats, Floats]:
    """Bootstrap interval of the mean.

    ``percentile`` is Hesterberg's expanded one (arXiv 1411.5279): the plain percentile interval is too narrow by
    ``√((n−1)/n) · z/t``, so its tails ``α/2`` become ``Φ(−√(n/(n−1)) t_{1−α/2, n−1})``. ``bca`` corrects for bias and
    skew (Efron 1987) and not for that. Where all values are equal, so are both bounds.

    Of 95 % intervals, simulated on symmetric and skewed scores, ``percentile`` ones cover 93 to 97 % from 10 images on,
    but on scores as skewed as Spearman correlations near 1 (skewness −1.4), of which 10 images cover 92 %, from 32 on;
    ``bca`` ones from 64 on, with 88 to 93 % at 10. No simulation speaks for fewer than 10.

    Args:
        values: finite, …×n, n at least 2.
        how: which interval.

    Returns:
        Lower and upper bounds, shaped like ``values`` without its last axis.
    """
    means = np.sort(_resampled_means(values), axis=-1)
    n = values.shape[-1]
    if how == "percentile":
        tail = special.ndtr(np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - LEVEL) / 2))
        low, high = np.full(values.shape[:-1], tail), np.full(values.shape[:-1], 1 - tail)
    else:
        low, high = _bca_tails(values, means)
    return quantile(means, low), quantile(means, high)


def _bca_tails(values: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Which quantiles of the resampled ``means`` are the bounds: corrected for bias, and for skew by the jackknife."""
    center = values.mean(axis=-1, keepdims=True)
    below = ((means < center).mean(axis=-1) + (means <= center).mean(axis=-1)) / 2
    bias = special.ndtri(np.clip(below, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))
    widest = np.abs(values - center).max(axis=-1, keepdims=True)
    unit = (values - center) / np.where(widest > 0, widest, 1.0)
    # Deviations from the mean have squares to divide by unless all are 0, which have no skew.
    skew = (unit**3).sum(axis=-1) / (6 * np.maximum((unit**2).sum(axis=-1), 1.0) ** 1.5)
    shifted = (bias - NORMAL, bias + NORMAL)
    low, high = (special.ndtr(bias + z / (1 - skew * z)) for z in shifted)
    return low, high


def _resampled_means(values: Floats) -> Floats:
    """Means of RESAMPLES draws with replacement, …×RESAMPLES; the draws depend only on the number of images."""
    n = values.shape[-1]
    rows = values.reshape(-1, n)
    count = len(rows)
    # In products of one size no row depends on how many others there are, not even by rounding.
    padded = np.concatenate([rows, np.zeros((-count % TILE, n))])
    parts = []
    for counts in _draws(n) if n <= KEPT else _generate(n):
        drawn = counts.astype(np.float64).T
        parts.append(np.concatenate([tile @ drawn for tile in padded.reshape(-1, TILE, n)])[:count])
    means: Floats = np.concatenate(parts, axis=-1).reshape(*values.shape[:-1], RESAMPLES)
    means /= n
    return means


@functools.lru_cache(maxsize=12)
def _draws(n: int) -> tuple[Counts, ...]:
    return tuple(_generate(n))


def _generate(n: int) -> Iterator[Counts]:
    """How often each of n images is drawn in each resample, in blocks of resamples that fit in memory.

    Kept as 8 bits, since they are as many for each image as there are resamples. That an image is drawn 256 times has
    a chance below 1 in 10^500.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    size = max(1, 4_000_000 // n)
    for start in range(0, RESAMPLES, size):
        block = min(size, RESAMPLES - start)
        yield generator.multinomial(n, np.full(n, 1.0 / n), size=block).astype(np.uint8)
