"""Cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metrics import register
from metrics.base import Similarity
from metrics.correlation import unit


@register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine(Similarity):
    """``⟨a, b⟩ / (‖a‖ ‖b‖)`` of the maps as the protocol reduces them; NaN where a map is zero everywhere."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return (unit(a) * unit(b)).sum(dim=1).clamp(-1.0, 1.0)
