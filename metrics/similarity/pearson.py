"""Pearson's correlation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.maps import similarity
from attrobust.metrics import register
from attrobust.metrics.base import Similarity


@register("pearson")
@dataclass(frozen=True, kw_only=True)
class Pearson(Similarity):
    """Pearson's correlation of the values at all pixels; NaN where a map is constant.

    The official code of AGA divides the population covariance by sample standard deviations, so that its value is
    ``(n - 1) / n`` times this one.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"aga": {"maps": "abs-sum"}}

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        return similarity.pearson(a, b).clamp(-1.0, 1.0)
