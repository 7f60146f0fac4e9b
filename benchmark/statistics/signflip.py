"""The paired sign-flip test: what the mean of differences would be if each could as well have had the other sign."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attrobust.arrays import Booleans, Floats, Integers

Signs = npt.NDArray[np.int8]
FLIPS = 9_999
KEPT = 8_192
"""The patterns for so many images, 82 MB, are kept for the next table."""
EXACT = FLIPS.bit_length() - 1
"""So many differences have at most FLIPS patterns of signs."""
ROUNDING = 1e-9
"""Sums of differences, in units of the largest, that are nearer than this are equal."""
COMPARABLE = 100.0
"""Rows larger than this, in units of their largest difference, are not summed up apart from each other."""


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


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Rows of which some pairs are compared.

    Attributes:
        rows: K×N, NaN where undefined.
        pairs: P×2, positions of rows.
    """

    rows: Floats
    pairs: Integers


def sign_flip_of_pairs(tables: Sequence[Paired]) -> list[Floats]:
    """The p-values that ``sign_flip`` has for the differences of all pairs of some tables.

    A sum of differences is a difference of sums: each pattern of signs is applied to every row once, and not to every
    pair. On images that only some rows have, and where rounding might show, it is applied to the differences.

    Args:
        tables: of as many images.
    """
    prepared = [_Sums(table) for table in tables]
    rows = [table.centered for table in prepared]
    if any(table.wanted.any() for table in prepared):
        for signs in _random(rows[0].shape[1]):
            sums = np.split(np.concatenate(rows) @ signs.T, np.cumsum([len(part) for part in rows])[:-1])
            for table, part in zip(prepared, sums, strict=True):
                table.count(part, signs)
    return [table.p() for table in prepared]


class _Sums:
    """What is known of the pairs of a table while patterns of signs go by.

    Attributes:
        centered: the rows less their mean at each image, 0 on images that only some have.
        wanted: K×K, the pairs whose hits are counted.
    """

    def __init__(self, table: Paired) -> None:
        self._pairs = table.pairs
        first, second = table.pairs.T
        count = len(table.rows)
        shared: Booleans = np.asarray(np.isfinite(table.rows).all(axis=0))
        self.centered = np.where(shared, table.rows, 0.0)
        self.centered -= self.centered.mean(axis=0)
        self._rest = np.flatnonzero(~shared)
        size = np.abs(self.centered).max(axis=1)
        self._limits = np.full((count, count), np.inf)
        self._hits = np.zeros((count, count))
        self._left: Floats = np.zeros((len(table.pairs), len(self._rest)))
        direct = np.ones(len(table.pairs), dtype=np.bool_)
        if 4 * len(self._rest) <= len(shared):
            for start in range(0, len(table.pairs), 64):
                part = slice(start, start + 64)
                i, j = first[part], second[part]
                found = _differences(table.rows, i, j)
                largest = np.abs(found).max(axis=1)
                direct[part] = np.count_nonzero(found, axis=1) <= EXACT
                direct[part] |= size[i] + size[j] > COMPARABLE * largest
                self._limits[i, j] = np.abs(found.sum(axis=1)) - ROUNDING * largest
                self._left[part] = found[:, self._rest]
        self._limits[first[direct], second[direct]] = np.inf
        self.wanted = np.isfinite(self._limits)
        self._p = np.full((count, count), np.nan)
        for start in range(0, int(direct.sum()), 512):
            i, j = (side[direct][start : start + 512] for side in (first, second))
            self._p[i, j] = sign_flip(_differences(table.rows, i, j))

    def count(self, sums: Floats, signs: Floats) -> None:
        """Take in the sums of every row under some patterns, K×R."""
        if len(self._rest):
            left = self._left @ signs[:, self._rest].T
            for (i, j), more in zip(self._pairs, left, strict=True):
                self._hits[i, j] += (np.abs(sums[i] - sums[j] + more) >= self._limits[i, j]).sum()
            return
        for i in range(len(sums) - 1):
            far = np.abs(sums[i] - sums[i + 1 :]) >= self._limits[i, i + 1 :, None]
            self._hits[i, i + 1 :] += np.count_nonzero(far, axis=1)

    def p(self) -> Floats:
        """One for each pair."""
        found = np.where(self.wanted, (1 + self._hits) / (1 + FLIPS), self._p)
        return np.asarray(found[self._pairs[:, 0], self._pairs[:, 1]])


def _differences(rows: Floats, first: Integers, second: Integers) -> Floats:
    """Of pairs of rows, 0 where one of them is undefined."""
    found = rows[first] - rows[second]
    return np.where(np.isfinite(found), found, 0.0)


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
    for signs in _signs(n) if n <= KEPT else _generate(n):
        yield signs.astype(np.float64)


@functools.lru_cache(maxsize=2)
def _signs(n: int) -> tuple[Signs, ...]:
    return tuple(_generate(n))


def _generate(n: int) -> Iterator[Signs]:
    generator = np.random.Generator(np.random.PCG64(0))
    size = max(1, 4_000_000 // n)
    for start in range(0, FLIPS, size):
        block = min(size, FLIPS - start)
        bits = np.unpackbits(np.frombuffer(generator.bytes(block * n // 8 + 1), dtype=np.uint8), count=block * n)
        yield np.int8(1) - np.int8(2) * bits.reshape(block, n).astype(np.int8)
