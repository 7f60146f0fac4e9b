"""Which rows of a table can be told apart, and the ranks that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.statistics.intervals import LEVEL
from attrobust.benchmark.statistics.signflip import Paired, sign_flip_of_pairs

TOGETHER = 64 * 2**20
"""Bytes of scores that wait to be tested together, which is faster than column by column."""
FEWEST = 5
"""Images that rows must have in common to be ranked."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of every row of a table, on the same images in the same order.

    Attributes:
        rows: per-image scores, N or, for a row that was trained with several seeds, S×N; NaN or infinite where
            undefined. None where a row is not to be ranked: it failed, or is a sanity-check baseline.
        higher_is_better: of the metric.
    """

    rows: Sequence[Floats | None]
    higher_is_better: bool


def compare(columns: Sequence[Column]) -> list[list[int | None]]:
    """The rank of every row in every column of a table; rows of rank 1 are the best and what ties with it.

    A row's rank is 1 + the number of rows that are better in the mean and can be told apart from it, which is decided
    for every pair of rows in every column, on the images on which both are defined: ``sign_flip`` on the differences
    of what the seeds score on average, and, where both rows have at least two seeds, Welch's t-test on the seeds'
    means as well. The larger p-value counts, so that a difference holds over images and over seeds. The false
    discovery rate over all pairs of all columns is held at 5 % (Benjamini and Hochberg 1995). As every pair is in that
    family, so is whichever row comes out first: choosing it after looking costs nothing. Of tables of rows that are all
    alike, about 5 % at most tell any two apart; that rests on simulation, for pairs that share rows depend on each
    other in ways the procedure's proof does not cover.

    Means are those over the images on which all ranked rows of the column are defined; a row is better than another
    where that holds on the pair's own images too. With several seeds, an image is defined where all of them are.

    Args:
        columns: of one table. More of them make every difference harder to establish.

    Returns:
        For each column a rank for each row. None for a row without scores or undefined on more than half of the
        images, and for all rows where fewer than two are left or they have fewer than FEWEST images in common.
    """
    comparison = Comparison()
    comparison.add(columns)
    return comparison.ranks()


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """What is left of a column when its scores are gone.

    Attributes:
        count: of its rows.
        ranked: which of them are ranked.
        pairs: of these, by their positions among all rows.
        p: of every pair, over seeds.
        better: 1 where the first of a pair has the better mean, -1 where the second has; 0 where the means over the
            images of the pair and those over the images of all rows do not agree.
    """

    count: int
    ranked: tuple[int, ...]
    pairs: Integers
    p: Floats
    better: Integers


class Comparison:
    """``compare`` for tables that are not in memory at once: columns are added, and let go of, part by part."""

    def __init__(self) -> None:
        self._columns: list[_Tested] = []
        self._over_images: list[Floats] = []
        self._waiting: list[Paired] = []

    def add(self, columns: Sequence[Column]) -> None:
        """Take in the next columns of the table."""
        for column in columns:
            rows = _ranked(column)
            kept = list(rows.values())
            found = np.array(list(itertools.combinations(range(len(rows)), 2)), dtype=np.int64).reshape(-1, 2)
            averages = np.stack([row.mean(axis=0) for row in kept]) if kept else np.zeros((0, 0))
            self._waiting.append(Paired(rows=averages, pairs=found))
            means = _Means(kept, found)
            places = np.array(list(rows), dtype=np.int64)
            self._columns.append(
                _Tested(
                    count=len(column.rows),
                    ranked=tuple(rows),
                    pairs=places[found] if len(found) else found,
                    p=means.p(),
                    better=(1 if column.higher_is_better else -1) * means.leads(),
                )
            )
            if sum(table.rows.nbytes for table in self._waiting) > TOGETHER:
                self._test()

    def _test(self) -> None:
        """P-values over images of the columns that wait for it."""
        self._over_images += _over_images(self._waiting)
        self._waiting = []

    def ranks(self) -> list[list[int | None]]:
        """See ``compare``; for each column in the order in which they were added."""
        self._test()
        both = zip(self._columns, self._over_images, strict=True)
        p = np.concatenate([np.empty(0), *(np.maximum(column.p, over_images) for column, over_images in both)])
        apart: Booleans = _adjusted(p) <= 1 - LEVEL
        start = 0
        ranks: list[list[int | None]] = []
        for column in self._columns:
            told = apart[start : start + len(column.p)]
            start += len(told)
            worse = np.zeros(column.count, dtype=np.int64)
            for side, sign in ((1, 1), (0, -1)):
                np.add.at(worse, column.pairs[told & (column.better == sign), side], 1)
            found: list[int | None] = [None] * column.count
            for i in column.ranked:
                found[i] = 1 + int(worse[i])
            ranks.append(found)
        return ranks


def _ranked(column: Column) -> dict[int, Floats]:
    """Scores S×N of the rows that are ranked, NaN where undefined."""
    rows = {}
    for i, scores in enumerate(column.rows):
        if scores is not None and scores.size:
            finite = np.isfinite(scores)
            found = np.atleast_2d(scores if finite.all() else np.where(finite, scores, np.nan))
            if 2 * _defined(found).sum() >= found.shape[1]:
                rows[i] = found
    enough = len(rows) >= 2 and np.logical_and.reduce([_defined(row) for row in rows.values()]).sum() >= FEWEST
    return rows if enough else {}


def _defined(scores: Floats) -> Booleans:
    """The images on which all seeds are."""
    return np.asarray(np.isfinite(scores).all(axis=0))


class _Means:
    """The means of every pair of rows, over the images that both share.

    Args:
        rows: that are ranked, S×N.
        pairs: of these.
    """

    def __init__(self, rows: Sequence[Floats], pairs: Integers) -> None:
        self._rows, self._pairs = rows, pairs
        self._defined = [_defined(row) for row in rows]
        shared = np.logical_and.reduce(self._defined) if rows else np.zeros(0, dtype=np.bool_)
        self._means = np.array([float((row if shared.all() else row[:, shared]).mean()) for row in rows])
        self._seeds = [_moments(row, shared) for row in rows]
        # A pair shares no more than all rows do where one of the two is defined nowhere else.
        least = np.array([defined.sum() == shared.sum() for defined in self._defined], dtype=np.bool_)
        self._own = np.flatnonzero(~least[pairs].any(axis=1))

    def leads(self) -> Integers:
        """1 or -1 where the first has the larger or the smaller mean; 0 where the pair's own images disagree."""
        lead = self._means[self._pairs[:, 0]] - self._means[self._pairs[:, 1]]
        own = lead.copy()
        for place in self._own:
            i, j = self._pairs[place]
            own[place] = np.nanmean(self._rows[i].mean(axis=0) - self._rows[j].mean(axis=0))
        return np.where(lead * own > 0, np.sign(lead), 0.0).astype(np.int64)

    def p(self) -> Floats:
        """P-values of Welch's test between means of seeds; 0 where one of the two has a single seed."""
        several = np.array([len(row) > 1 for row in self._rows], dtype=np.bool_)[self._pairs].all(axis=1)
        p = np.zeros(len(self._pairs))
        if several.any():
            from scipy import stats

            moments = np.array(self._seeds)[self._pairs]
            for place in self._own:
                i, j = self._pairs[place]
                both = self._defined[i] & self._defined[j]
                moments[place] = _moments(self._rows[i], both), _moments(self._rows[j], both)
            a, b = moments[several].transpose(1, 2, 0)
            welch = stats.ttest_ind_from_stats(a[0], a[1], a[2], b[0], b[1], b[2], equal_var=False)
            # Means that are all the same have no variance to divide by.
            p[several] = np.nan_to_num(welch.pvalue, nan=1.0)
        return p


def _moments(row: Floats, images: Booleans) -> tuple[float, float, int]:
    """Mean and standard deviation of each seed's mean over some images, and how many seeds there are."""
    means = (row if images.all() else row[:, images]).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else 0.0, len(means)


def _adjusted(p: Floats) -> Floats:
    """P-values of a family for its false discovery rate: ``min_{j ≥ i} p_(j) m/j`` for the i-th smallest of m."""
    order, m = np.argsort(p), len(p)
    steps = p[order] * (m / np.arange(1, m + 1))
    adjusted = np.empty(m)
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return adjusted


def _over_images(tables: Sequence[Paired]) -> list[Floats]:
    """P-values of the pairs of each column, those of as many images tested together."""
    p: list[Floats] = [np.empty(0)] * len(tables)
    alike: dict[int, list[int]] = {}
    for index, table in enumerate(tables):
        if len(table.pairs):
            alike.setdefault(table.rows.shape[1], []).append(index)
    for members in alike.values():
        for index, found in zip(members, sign_flip_of_pairs([tables[index] for index in members]), strict=True):
            p[index] = found
    return p
