"""Spearman's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metrics import register
from metrics.base import Similarity
from metrics.correlation import average_ranks, rank_correlation


@register("spearman")
@dataclass(frozen=True, kw_only=True)
class Spearman(Similarity):
    """Pearson correlation of average ranks over all pixels; NaN where a map is constant."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return rank_correlation(average_ranks(a), average_ranks(b))
