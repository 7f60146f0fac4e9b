"""Which rows of a table can be told apart, and the ranks that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.statistics.intervals import LEVEL
from attrobust.benchmark.statistics.signflip import sign_flip_of_pairs

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
    return Comparison(map(compared, columns)).ranks()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is left of a column when its scores are gone; see ``compared``.

    Attributes:
        count: of its rows.
        ranked: which of them are ranked.
        pairs: of these, by their positions among all rows.
        p: of every pair, the larger of those over images and over seeds.
        better: 1 where the first of a pair has the better mean, -1 where the second has; 0 where the means over the
            images of the pair and those over the images of all rows do not agree.
    """

    count: int
    ranked: tuple[int, ...]
    pairs: Integers
    p: Floats
    better: Integers


class Comparison:
    """``compare`` for tables that are not in memory at once: columns are tested, and let go of, one by one.

    Args:
        columns: of one table, in its order.
    """

    def __init__(self, columns: Iterable[Compared]) -> None:
        self._columns = list(columns)

    def ranks(self) -> list[list[int | None]]:
        """See ``compare``; for each column."""
        p = np.concatenate([np.empty(0), *(column.p for column in self._columns)])
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


def compared(column: Column) -> Compared:
    """The p-values of all pairs of rows of a column, and which of two is better."""
    rows = _ranked(column)
    pairs = np.array(list(itertools.combinations(range(len(rows)), 2)), dtype=np.int64).reshape(-1, 2)
    if not rows:
        return Compared(count=len(column.rows), ranked=(), pairs=pairs, p=np.empty(0), better=np.zeros(0, np.int64))
    kept = list(rows.values())
    means = _Means(kept, pairs)
    averages = np.stack([row.scores[0] if len(row.scores) == 1 else row.scores.mean(axis=0) for row in kept])
    return Compared(
        count=len(column.rows),
        ranked=tuple(rows),
        pairs=np.array(list(rows), dtype=np.int64)[pairs],
        p=np.maximum(means.p(), sign_flip_of_pairs(averages, pairs)),
        better=(1 if column.higher_is_better else -1) * means.leads(),
    )


@dataclass(frozen=True)
class _Ranked:
    """A row that is ranked.

    Attributes:
        scores: S×N, NaN where undefined.
        defined: the images on which all seeds are.
    """

    scores: Floats
    defined: Booleans


def _ranked(column: Column) -> dict[int, _Ranked]:
    """The rows that are ranked, by position; none where too few are left."""
    rows = {}
    for i, scores in enumerate(column.rows):
        if scores is not None and scores.size:
            finite: Booleans = np.isfinite(np.atleast_2d(scores))
            whole = bool(finite.all())
            found = np.atleast_2d(scores) if whole else np.where(finite, scores, np.nan)
            defined = np.ones(found.shape[1], dtype=np.bool_) if whole else np.asarray(finite.all(axis=0))
            if 2 * np.count_nonzero(defined) >= len(defined):
                rows[i] = _Ranked(found, defined)
    enough = len(rows) >= 2 and np.count_nonzero(_shared(list(rows.values()))) >= FEWEST
    return rows if enough else {}


def _shared(rows: Sequence[_Ranked]) -> Booleans:
    """The images on which all rows are defined."""
    return np.asarray(np.logical_and.reduce([row.defined for row in rows]))


class _Means:
    """The means of every pair of rows, over the images that both share.

    Args:
        rows: that are ranked, two at least.
        pairs: of these.
    """

    def __init__(self, rows: Sequence[_Ranked], pairs: Integers) -> None:
        shared = _shared(rows)
        # Of a pair and of each of its two rows: mean, deviation and number of the seeds' means.
        over_all = np.array(
            [_moments((row.scores if shared.all() else row.scores[:, shared]).mean(axis=1)) for row in rows]
        )
        self._over_all = over_all[pairs]
        self._over_own = self._over_all.copy()
        # A pair shares no more than all rows do where one of the two is defined nowhere else.
        least = np.array([row.defined.sum() == shared.sum() for row in rows], dtype=np.bool_)
        own = np.flatnonzero(~np.asarray(least[pairs].any(axis=1)))
        sums = [_Sums(row) for row in rows] if own.size else []
        for place in own:
            i, j = pairs[place]
            self._over_own[place] = _moments(sums[i].means(sums[j])), _moments(sums[j].means(sums[i]))

    def leads(self) -> Integers:
        """1 or -1 where the first has the larger or the smaller mean; 0 where the pair's own images disagree."""
        lead, own = (moments[:, 0, 0] - moments[:, 1, 0] for moments in (self._over_all, self._over_own))
        return np.where(lead * own > 0, np.sign(lead), 0.0).astype(np.int64)

    def p(self) -> Floats:
        """P-values of Welch's test between means of seeds; 0 where one of the two has a single seed."""
        several = (self._over_own[:, :, 2] > 1).all(axis=1)
        p = np.zeros(len(self._over_own))
        if several.any():
            from scipy import stats

            a, b = self._over_own[several].transpose(1, 2, 0)
            welch = stats.ttest_ind_from_stats(a[0], a[1], a[2], b[0], b[1], b[2], equal_var=False)
            # Means that are all the same have no variance to divide by.
            p[several] = np.nan_to_num(welch.pvalue, nan=1.0)
        return p


class _Sums:
    """The sums of a row's seeds over the images on which it is defined."""

    def __init__(self, row: _Ranked) -> None:
        self._row = row
        self._holes = np.flatnonzero(~row.defined)
        self._count = len(row.defined) - len(self._holes)
        self._total = row.scores[:, row.defined].sum(axis=1)

    def means(self, other: _Sums) -> Floats:
        """Of each seed over the images on which the other row is defined too."""
        lost = other._holes[self._row.defined[other._holes]]
        return np.asarray((self._total - self._row.scores[:, lost].sum(axis=1)) / (self._count - len(lost)))


def _moments(means: Floats) -> tuple[float, float, int]:
    """Mean, standard deviation and number of some means."""
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else 0.0, len(means)


def _adjusted(p: Floats) -> Floats:
    """P-values of a family for its false discovery rate: ``min_{j ≥ i} p_(j) m/j`` for the i-th smallest of m."""
    order, m = np.argsort(p), len(p)
    steps = p[order] * (m / np.arange(1, m + 1))
    adjusted = np.empty(m)
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return adjusted
