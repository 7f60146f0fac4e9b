"""Entropy, the complexity of a map: Bhatt, Weller and Moura 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.maps.rows import scaled
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.types import Scope


@register("entropy")
@dataclass(frozen=True, kw_only=True)
class Entropy(Quality):
    """Entropy of the map's absolute values as shares, ``-Σ p ln p``, ``p_k = |v_k| / Σ|v|`` (arXiv 2005.00631).

    The paper calls it complexity. It is 0 nats where all but one of D values are zero and ``ln D``, the worst, where
    all are equal in size. NaN where the map is zero everywhere or not finite.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    scope: ClassVar[Scope] = "map"

    @property
    def title(self) -> str:
        """``entropy (nats)``."""
        return "entropy (nats)"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        rows = case.clean_maps.flatten(1)
        shares = scaled(rows.abs(), "sum")
        # Rounding of a single share of 1 must not be below 0.
        entropy: Tensor = torch.special.entr(shares).sum(dim=1).clamp_min(0.0)
        return entropy.masked_fill(~rows.isfinite().all(dim=1), float("nan"))
