"""Cosine similarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.maps import similarity
from attrobust.metrics import register
from attrobust.metrics.base import Similarity


@register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine(Similarity):
    """Cosine of the maps, ``⟨a, b⟩ / (‖a‖ ‖b‖)``; NaN where a map is zero everywhere.

    Signed attributions, ``maps=channels``, agree less than the sums of their absolute values that AGA compares.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"aga": {"maps": "abs-sum"}}

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return similarity.cosine(a, b).clamp(-1.0, 1.0)
