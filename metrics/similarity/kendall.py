"""Kendall's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.maps import similarity
from attrobust.metrics import register
from attrobust.metrics.base import Similarity


@register("kendall")
@dataclass(frozen=True, kw_only=True)
class Kendall(Similarity):
    """Tau-b over all pixels: pairs in the same order less pairs in opposite orders; NaN where a map is constant."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """``Kendall tau-b``."""
        return "Kendall tau-b"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return similarity.kendall(a, b)
