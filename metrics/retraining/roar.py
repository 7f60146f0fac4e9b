"""ROAR: remove and retrain, accuracy after the most important pixels are removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.removal import RemovalMetric, area
from attrobust.metrics.shared.retraining import RetrainingContext


@register("roar")
@dataclass(frozen=True, kw_only=True)
class ROAR(RemovalMetric):
    """Remove and retrain: ``AUC_t(acc_random - acc_map)``, largest values removed first (arXiv 1806.10758).

    As scored by Kim, Seo and Jeon (arXiv 1903.11626): at every level t two networks are trained from scratch, on images
    without random pixels and on images without the most important ones. The score is the trapezoidal area under the
    difference of their test accuracies, which is 0 at t = 0 and t = 1. The paper ranks ``Σ_c |∂CE/∂x|``; here maps are
    those of the protocol.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"kim": {"levels": "10/30/50/70/90", "repeats": "3"}}

    def evaluate(self, context: RetrainingContext) -> Tensor:
        """See ``RetrainingMetric.evaluate``."""
        difference = self.random_hits(context) - self.hits(context, context.maps, "largest")
        return self.where_defined(area(difference, self.shares), context)
