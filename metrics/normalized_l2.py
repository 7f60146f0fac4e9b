"""Normalised l2 distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from metrics import register
from metrics.base import Similarity
from metrics.correlation import unit


@register("normalized-l2")
@dataclass(frozen=True, kw_only=True)
class NormalizedL2(Similarity):
    """``‖a/n(a) - b/n(b)‖₂`` with each map divided by its own norm n; NaN where a map is zero everywhere.

    Attributes:
        by: the norm n: ``l2`` (distance of directions, at most 2), ``sum`` for ``Σ|a|`` or ``max`` for ``max|a|``.
    """

    by: Literal["l2", "sum", "max"] = "l2"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @property
    def title(self) -> str:
        """E.g. ``l2 (l2-norm.)``."""
        return f"l2 ({self.by}-norm.)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        distance: Tensor = (self._scaled(a) - self._scaled(b)).norm(dim=1)
        return distance

    def _scaled(self, maps: Tensor) -> Tensor:
        if self.by == "l2":
            return unit(maps)
        maps = maps / maps.abs().amax(dim=1, keepdim=True)
        return maps if self.by == "max" else maps / maps.abs().sum(dim=1, keepdim=True)
