"""Normalised l2 distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.maps import similarity
from attrobust.maps.rows import Norm
from attrobust.metrics import register
from attrobust.metrics.base import Similarity


@register("normalized-l2")
@dataclass(frozen=True, kw_only=True)
class NormalizedL2(Similarity):
    """Distance ``‖a/n(a) - b/n(b)‖₂`` of maps divided by their own norm n; NaN where a map is zero everywhere.

    Attributes:
        by: the norm n: ``l2`` (distance of directions, at most 2), ``sum`` for ``Σ|a|`` or ``max`` for ``max|a|``.
        form: the ``norm`` itself, its ``square``, or ``mse``, the square divided by the number of pixels.
    """

    by: Norm = "l2"
    form: Literal["norm", "square", "mse"] = "norm"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "aga": {"by": "max", "form": "square", "maps": "abs-sum"},
        "dombrowski": {"by": "sum", "form": "mse", "maps": "abs-sum"},
    }

    @property
    def title(self) -> str:
        """E.g. ``l2 (l2-norm.)``."""
        name = {"norm": "l2", "square": "squared l2", "mse": "MSE"}[self.form]
        return f"{name} ({self.by}-norm.)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        distance = similarity.normalized_l2(a, b, self.by)
        match self.form:
            case "norm":
                return distance
            case "square":
                return distance.square()
            case "mse":
                return distance.square() / a.shape[1]
