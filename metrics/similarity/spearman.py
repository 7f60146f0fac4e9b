"""Spearman's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.maps.ranks import sorted_ranks
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
        mean = (a.shape[1] + 1) / 2
        a, b = sorted_ranks(a) - mean, sorted_ranks(b) - mean
        dot = torch.linalg.vecdot
        correlation: Tensor = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        return correlation.clamp(-1.0, 1.0)
