"""The numbers of rows, computed again from the per-image scores behind them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from attrobust.arrays import Floats
from attrobust.benchmark.report.processes import each
from attrobust.benchmark.statistics import Estimate, estimates, shares
from attrobust.benchmark.store.arrays import PerImage
from attrobust.benchmark.store.rows import MetricFacts, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import UsageError

ROUNDING = 1e-6
"""By which a score may be beyond the largest or the smallest possible one."""
TOGETHER = 10_000_000
"""Scores that are in memory at once, but for one row with more."""


def wrong_numbers(store: Store, rows: Sequence[Row]) -> dict[str, str]:
    """By fingerprint, what of a row is not what its scores give."""
    scored = [row for row in rows if isinstance(row, ScoredRow)]
    size = max(1, TOGETHER // max((1, *(row.n for row in scored))))
    parts = [scored[start : start + size] for start in range(0, len(scored), size)]
    find = functools.partial(_wrong_in, store)
    found: dict[str, str] = {}
    for part in each(find, parts, scores=sum(row.n for row in scored), words="rows"):
        found |= part
    return found


def _wrong_in(store: Store, rows: Sequence[ScoredRow]) -> dict[str, str]:
    found: dict[str, str] = {}
    pairs = []
    for row in rows:
        try:
            pairs.append((row, store.load(row)))
        except UsageError as error:
            found[row.fingerprint] = str(error)
    intervals = estimates([item.scores for _, item in pairs], [row.metric.unit for row, _ in pairs])
    for (row, item), interval in zip(pairs, intervals, strict=True):
        if problem := _problem(row, item, interval):
            found[row.fingerprint] = problem
    return found


def impossible(metric: MetricFacts, scores: Floats) -> str:
    """Which score no image can have, in words; empty where there is none."""
    defined = scores[np.isfinite(scores)]
    if metric.scope == "accuracy":
        wrong = defined[(defined != 0) & (defined != 1)]
    else:
        wrong = defined[(defined < -ROUNDING) | (defined > 1 + ROUNDING)] if metric.unit else defined[:0]
    return f"an image has a score of {wrong[0]:.6g}, which {metric.label} never is" if wrong.size else ""


def _problem(row: ScoredRow, loaded: PerImage, again: Estimate) -> str:
    pairs = {
        "mean": (row.mean, again.mean),
        "low": (row.ci[0], again.low),
        "high": (row.ci[1], again.high),
        "n": (row.n, again.n),
        "defined": (row.n_defined, again.defined),
    }
    repeats = [value for value in row.repeats or () if value is not None]
    if repeats and len(repeats) == len(row.repeats or ()):
        pairs["mean of repeats"] = sum(repeats) / len(repeats), again.mean
    for name, (value, expected) in pairs.items():
        if value is None and math.isnan(expected):
            continue
        if value is None or not math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12):
            return f"{name} is stored as {value} but its scores give {expected}"
    if found := impossible(row.metric, loaded.scores):
        return found
    if int(loaded.feasible.sum()) != row.n_feasible:
        return f"n_feasible is stored as {row.n_feasible} but its scores give {int(loaded.feasible.sum())}"
    members = shares(loaded.worst, loaded.members)
    if (row.members or {}) != members:
        return f"members are stored as {row.members or {}} but its scores give {members}"
    return ""
