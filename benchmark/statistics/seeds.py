"""Means over training seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from attrobust.benchmark.statistics.intervals import LEVEL


@dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """A mean over training seeds.

    Attributes:
        mean: of the seeds with a defined mean over images; NaN where there is none.
        error: its standard error, ``s / √count`` with ``s² = Σ(x − mean)² / (count − 1)``; NaN for fewer than two.
        count: seeds with a defined mean.
    """

    mean: float
    error: float
    count: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t-interval with ``count − 1`` degrees of freedom; NaN for fewer than two seeds."""
        half = float(special.stdtrit(self.count - 1, (1 + LEVEL) / 2)) * self.error
        return self.mean - half, self.mean + half


def over_seeds(means: Sequence[float]) -> OverSeeds:
    """Mean and standard error over training seeds; NaN and infinite ones are left out.

    Args:
        means: a row's mean over images, one for each seed.
    """
    values = np.asarray(means, dtype=np.float64)
    defined = values[np.isfinite(values)]
    count = len(defined)
    mean = float(defined.mean()) if count else float("nan")
    error = float(defined.std(ddof=1)) / count**0.5 if count > 1 else float("nan")
    return OverSeeds(mean=mean, error=error, count=count)
