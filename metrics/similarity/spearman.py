"""Spearman's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.maps import similarity
from attrobust.metrics import register
from attrobust.metrics.base import Similarity


@register("spearman")
@dataclass(frozen=True, kw_only=True)
class Spearman(Similarity):
    """Spearman's correlation, that of average ranks, over all pixels; NaN where a map is constant."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return similarity.spearman(a, b).clamp(-1.0, 1.0)
