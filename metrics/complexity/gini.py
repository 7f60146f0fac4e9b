"""Gini index, the sparsity of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.types import Scope


@register("gini")
@dataclass(frozen=True, kw_only=True)
class Gini(Quality):
    """Gini index of the map's absolute values, ``1 - 2 Σ_k (v_k / Σv) (D - k + 1/2) / D``, v rising (arXiv 1810.06583).

    Hurley and Rickard's measure of sparsity: 0 where all D values are equal, ``1 - 1/D`` where all but one are zero.
    NaN where the map is zero everywhere or not finite.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scope: ClassVar[Scope] = "map"

    @property
    def title(self) -> str:
        """``Gini index``."""
        return "Gini index"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        size = case.clean_maps.flatten(1).abs()
        largest = size.amax(dim=1, keepdim=True)
        rising = (size / largest).sort(dim=1).values
        count = rising.shape[1]
        # Weights are antisymmetric, so that equal values sum to exactly 0 whatever their rounding.
        weights = torch.arange(1 - count, count, 2, device=rising.device).to(rising)
        index: Tensor = (rising * weights).sum(dim=1) / (count * rising.sum(dim=1))
        return index.clamp(0.0, 1.0).masked_fill(~largest[:, 0].isfinite(), float("nan"))
