"""The paired sign-flip test: what the mean of differences would be if each could as well have had the other sign."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np

from attrobust.arrays import Booleans, Floats

FLIPS = 9_999
EXACT = FLIPS.bit_length() - 1
"""So many differences have at most FLIPS patterns of signs."""
ROUNDING = 1e-9
"""Sums of differences, in units of the largest, that are nearer than this are equal."""


def sign_flip(differences: Floats) -> Floats:
    """Two-sided p-values of the paired sign-flip (Fisher–Pitman randomisation) test of a zero mean.

    The share of sign patterns under which the mean is at least as far from 0 as it is. Exact where the differences
    that are not 0 have at most FLIPS patterns; otherwise ``(1 + hits) / (1 + FLIPS)`` over FLIPS random patterns of
    a fixed seed (Phipson and Smyth 2010), which all rows share. A difference of 0 says nothing about either sign and
    changes no p-value.

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
    p[few] = _enumerated(found[few])
    p[~few] = _sampled(found[~few])
    return p


def _enumerated(differences: Floats) -> Floats:
    """From all patterns of the first EXACT differences that are not 0."""
    order = np.argsort(differences == 0, axis=1, kind="stable")[:, :EXACT]
    kept = np.take_along_axis(differences, order, axis=1)
    patterns = _patterns(kept.shape[1])
    return np.concatenate([_far(part, patterns).mean(axis=1) for part in _parts(kept, len(patterns))])


def _sampled(differences: Floats) -> Floats:
    """From FLIPS random patterns."""
    n = differences.shape[1]
    hits = np.zeros(len(differences))
    for signs in _random(n):
        parts = _parts(differences, len(signs))
        hits += np.concatenate([_far(part, signs).sum(axis=1) for part in parts])
    return (1 + hits) / (1 + FLIPS)


def _far(differences: Floats, signs: Floats) -> Booleans:
    """P×R: whether the sum is as far from 0 as it is without the flips."""
    limit = np.abs(differences.sum(axis=1, keepdims=True)) - ROUNDING
    far: Booleans = np.abs(differences @ signs.T) >= limit
    return far


def _parts(differences: Floats, patterns: int) -> list[Floats]:
    """Rows in parts, at least one, whose sums under all patterns fit in memory."""
    return np.array_split(differences, 1 + len(differences) * patterns // 2_000_000)


@functools.cache
def _patterns(n: int) -> Floats:
    """All patterns of n signs but those that mirror another, R×n."""
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=max(n, 1) - 1)])[:, :n]


def _random(n: int) -> Iterator[Floats]:
    """FLIPS random patterns of n signs, in blocks of patterns that fit in memory."""
    generator = np.random.Generator(np.random.PCG64(0))
    size = max(1, 4_000_000 // n)
    for start in range(0, FLIPS, size):
        block = min(size, FLIPS - start)
        bits = np.unpackbits(np.frombuffer(generator.bytes(block * n // 8 + 1), dtype=np.uint8), count=block * n)
        yield 1.0 - 2.0 * bits.reshape(block, n).astype(np.float64)
