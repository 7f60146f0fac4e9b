"""The paired sign-flip test: what the mean of differences would be if each could as well have had the other sign."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
from scipy import linalg

from attrobust.arrays import Booleans, Floats, Integers

BITS = 13
PATTERNS = 2**BITS
EXACT = BITS + 1
"""So many differences have PATTERNS patterns of signs, but for those that mirror another."""
ROUNDING = 1e-9
"""Sums of differences, in units of the largest, that are nearer than this are equal."""
COMPARABLE = 100.0
"""Rows larger than this, in units of the root mean square of their differences, are not summed up one by one."""
BLOCK = 1024
"""Patterns that are compared together: so many sums stay in a processor's cache."""
DIRECT = 64
"""Pairs whose differences are in memory together."""


def sign_flip(differences: Floats) -> Floats:
    """Two-sided p-values of the paired sign-flip (Fisher–Pitman randomisation) test of a zero mean.

    The share of sign patterns under which the mean is at least as far from 0 as it is. Exact where at most EXACT
    differences are not 0; otherwise the patterns are PATTERNS that form a group: flipping the signs of one as another
    says gives a third. If each difference could as well have had the other sign, ``P(p ≤ α) ≤ α`` holds for such a
    group as it does for all patterns (Hemerik and Goeman, TEST 27, 2018, theorem 1; Koning and Hemerik, Biometrika
    111, 2024). Image ``i`` has a code of BITS bits, and pattern ``g`` flips it where ``code_i & g`` has an odd number
    of ones, so that the sums under all patterns are a Walsh–Hadamard transform of the differences. Codes are drawn
    once, with a fixed seed, and differ between images while there are enough. A difference of 0 changes no p-value.

    Args:
        differences: P×N, a row for each pair of things compared; NaN or infinite where the pair has no difference.

    Returns:
        float64[P]; 1 where no difference is left.
    """
    found = np.where(np.isfinite(differences), differences, 0.0)
    largest = np.abs(found).max(axis=1, initial=0.0, keepdims=True)
    found = found / np.where(largest > 0, largest, 1.0)
    few = np.count_nonzero(found, axis=1) <= EXACT
    p = np.empty(len(found))
    p[few] = _share(found[few], _all_sums)
    p[~few] = _share(found[~few], _sums)
    return p


def sign_flip_of_pairs(rows: Floats, pairs: Integers) -> Floats:
    """The p-values that ``sign_flip`` has for the differences of some pairs of rows.

    A sum of differences is a difference of sums: the patterns are applied to every row once, and not to every pair.
    Where a row lacks an image, two rows differ on few images, or rounding might show, they are applied to the pair.

    Args:
        rows: K×N; NaN or infinite where undefined.
        pairs: P×2, positions of rows.

    Returns:
        float64[P].
    """
    whole = np.flatnonzero(np.isfinite(rows).all(axis=1))
    direct = np.ones((len(rows), len(rows)), dtype=np.bool_)
    p = np.ones(direct.shape)
    if len(whole) > 1:
        among = np.ix_(whole, whole)
        p[among], direct[among] = _of_whole(rows[whole])
    first, second = pairs.T
    left = np.flatnonzero(direct[first, second])
    for start in range(0, len(left), DIRECT):
        i, j = first[left[start : start + DIRECT]], second[left[start : start + DIRECT]]
        with np.errstate(invalid="ignore"):
            p[i, j] = sign_flip(rows[i] - rows[j])
    return np.asarray(p[first, second])


def _of_whole(rows: Floats) -> tuple[Floats, Booleans]:
    """P-values of all pairs of rows without holes, K×K, and which of them have to be found from their differences."""
    count, n = rows.shape
    centered = rows - rows.mean(axis=0)
    size = np.abs(centered).max(axis=1)
    size = size[:, None] + size
    products = centered @ centered.T
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    direct: Booleans = np.asarray(squares * COMPARABLE**2 <= n * size**2)
    for i in range(count - 1):
        direct[i, i + 1 :] |= np.count_nonzero(rows[i + 1 :] != rows[i], axis=1) <= EXACT
    direct = np.triu(direct) | np.triu(direct).T
    sums = _sums(centered)
    limits = np.abs(sums[:, :1] - sums[:, 0]) - ROUNDING * size
    hits = np.zeros((count, count))
    for start in range(0, PATTERNS, BLOCK):
        block = np.ascontiguousarray(sums[:, start : start + BLOCK])
        apart, far = np.empty_like(block), np.empty(block.shape, dtype=np.bool_)
        for i in range(count - 1):
            found = np.abs(np.subtract(block[i + 1 :], block[i], out=apart[i + 1 :]), out=apart[i + 1 :])
            np.greater_equal(found, limits[i, i + 1 :, None], out=far[i + 1 :])
            hits[i, i + 1 :] += np.count_nonzero(far[i + 1 :], axis=1)
    p = (hits + hits.T) / PATTERNS
    return p, direct


def _share(differences: Floats, sums_of: Callable[[Floats], Floats]) -> Floats:
    """Of the patterns under which there are sums, how many leave them as far from 0 as they are without flips."""
    found = np.empty(len(differences))
    for start in range(0, len(differences), DIRECT):
        part = differences[start : start + DIRECT]
        limit = np.abs(part.sum(axis=1, keepdims=True)) - ROUNDING
        found[start : start + DIRECT] = (np.abs(sums_of(part)) >= limit).mean(axis=1)
    return found


def _all_sums(rows: Floats) -> Floats:
    """Of each row the sums under all patterns of the first EXACT values that are not 0."""
    order = np.argsort(rows == 0, axis=1, kind="stable")[:, :EXACT]
    kept = np.take_along_axis(rows, order, axis=1)
    return np.asarray(kept @ _patterns(kept.shape[1]).T)


@functools.cache
def _patterns(n: int) -> Floats:
    """All patterns of n signs but those that mirror another, R×n."""
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=max(n, 1) - 1)])[:, :n]


def _sums(rows: Floats) -> Floats:
    """Of each row the sums under all patterns of the group, K×PATTERNS; the first flips nothing."""
    codes = _codes()
    placed = np.zeros((len(rows), PATTERNS))
    for start in range(0, rows.shape[1], len(codes)):
        part = rows[:, start : start + len(codes)]
        placed[:, codes[: part.shape[1]]] += part
    for size in (16, 16, 32):
        # Each product transforms the last few bits of the places, and moves them to the front.
        placed = np.swapaxes(placed.reshape(len(rows), -1, size) @ _hadamard(size), 1, 2)
    return np.ascontiguousarray(placed).reshape(len(rows), PATTERNS)


@functools.cache
def _hadamard(size: int) -> Floats:
    return np.asarray(linalg.hadamard(size), dtype=np.float64)


@functools.cache
def _codes() -> Integers:
    """Codes of images, none of them 0; the first BITS have all patterns."""
    single = 2 ** np.arange(BITS)
    others = np.setdiff1d(np.arange(1, PATTERNS), single)
    return np.concatenate([single, np.random.Generator(np.random.PCG64(0)).permutation(others)])
