"""Which rows of a table can be told apart, and the ranks that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Booleans, Floats
from attrobust.benchmark.statistics.intervals import LEVEL
from attrobust.benchmark.statistics.signflip import sign_flip

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
    ranked = [_ranked(column) for column in columns]
    pairs = [(c, i, j) for c, rows in enumerate(ranked) for i, j in itertools.combinations(rows, 2)]
    differences = [ranked[c][i].mean(axis=0) - ranked[c][j].mean(axis=0) for c, i, j in pairs]
    over_seeds = _over_seeds([(ranked[c][i], ranked[c][j]) for c, i, j in pairs])
    p = np.maximum(_over_images(differences), over_seeds)
    apart: Booleans = _adjusted(p) <= 1 - LEVEL
    better = [dict.fromkeys(rows, 0) for rows in ranked]
    means = [_means(rows) for rows in ranked]
    for (c, i, j), difference, told in zip(pairs, differences, apart, strict=True):
        if told:
            sign = 1 if columns[c].higher_is_better else -1
            lead, own = sign * (means[c][i] - means[c][j]), sign * np.nanmean(difference)
            if lead * own > 0:
                better[c][j if lead > 0 else i] += 1
    return [
        [1 + count[i] if i in count else None for i in range(len(column.rows))]
        for column, count in zip(columns, better, strict=True)
    ]


def _ranked(column: Column) -> dict[int, Floats]:
    """Scores S×N of the rows that are ranked, NaN where undefined."""
    rows = {}
    for i, scores in enumerate(column.rows):
        if scores is not None and scores.size:
            found = np.atleast_2d(np.where(np.isfinite(scores), scores, np.nan))
            if 2 * _defined(found).sum() >= found.shape[1]:
                rows[i] = found
    enough = len(rows) >= 2 and np.logical_and.reduce([_defined(row) for row in rows.values()]).sum() >= FEWEST
    return rows if enough else {}


def _defined(scores: Floats) -> Booleans:
    """The images on which all seeds are."""
    return np.asarray(np.isfinite(scores).all(axis=0))


def _means(rows: Mapping[int, Floats]) -> dict[int, float]:
    """Over the images that all rows share."""
    shared = np.logical_and.reduce([_defined(row) for row in rows.values()]) if rows else None
    return {i: float(row[:, shared].mean()) for i, row in rows.items()}


def _seed_means(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Each seed's mean over the images that both rows share."""
    both = _defined(a) & _defined(b)
    return a[:, both].mean(axis=1), b[:, both].mean(axis=1)


def _adjusted(p: Floats) -> Floats:
    """P-values of a family for its false discovery rate: ``min_{j ≥ i} p_(j) m/j`` for the i-th smallest of m."""
    order, m = np.argsort(p), len(p)
    steps = p[order] * (m / np.arange(1, m + 1))
    adjusted = np.empty(m)
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return adjusted


def _over_images(differences: Sequence[Floats]) -> Floats:
    """P-values of differences, tested together where they are of as many images."""
    p = np.empty(len(differences))
    lengths = np.array([len(difference) for difference in differences])
    for length in np.unique(lengths):
        here = lengths == length
        p[here] = sign_flip(np.stack(list(itertools.compress(differences, here))))
    return p


def _over_seeds(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    """P-values of Welch's test between means of the seeds of two rows; 0 where one of the two has a single seed."""
    several = np.array([min(len(a), len(b)) > 1 for a, b in pairs], dtype=np.bool_)
    p = np.zeros(len(pairs))
    if several.any():
        from scipy import stats

        means = [_seed_means(a, b) for a, b in itertools.compress(pairs, several)]
        a, b = (
            np.array([(side.mean(), side.std(ddof=1), len(side)) for side in sides]).T
            for sides in zip(*means, strict=True)
        )
        welch = stats.ttest_ind_from_stats(a[0], a[1], a[2], b[0], b[1], b[2], equal_var=False)
        # Means that are all the same have no variance to divide by.
        p[several] = np.nan_to_num(welch.pvalue, nan=1.0)
    return p
