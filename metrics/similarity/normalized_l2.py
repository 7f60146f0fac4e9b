"""Normalised l2 distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Similarity
from attrobust.metrics.shared.rows import with_norm


@register("normalized-l2")
@dataclass(frozen=True, kw_only=True)
class NormalizedL2(Similarity):
    """Distance ``‖a/n(a) - b/n(b)‖₂`` of maps divided by their own norm n; NaN where a map is zero everywhere.

    Attributes:
        by: the norm n: ``l2`` (distance of directions, at most 2), ``sum`` for ``Σ|a|`` or ``max`` for ``max|a|``.
        form: the ``norm`` itself, its ``square``, or ``mse``, the square divided by the number of pixels.
    """

    by: Literal["l2", "sum", "max"] = "l2"
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
        (a, size_a), (b, size_b) = with_norm(a, self.by), with_norm(b, self.by)
        distance: Tensor = (a / size_a).addcdiv_(b, size_b, value=-1).norm(dim=1)
        match self.form:
            case "norm":
                return distance
            case "square":
                return distance.square()
            case "mse":
                return distance.square() / a.shape[1]
