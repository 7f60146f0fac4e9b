"""KAR: keep and retrain, accuracy after the least important pixels are removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.removal import RemovalMetric, area
from attrobust.metrics.shared.retraining import RetrainingContext


@register("kar")
@dataclass(frozen=True, kw_only=True)
class KAR(RemovalMetric):
    """Keep and retrain: ``AUC_t(acc_map - acc_random)``, smallest values removed first (arXiv 1903.11626).

    At every level t two networks are trained from scratch, on images without the least important pixels and on images
    without random ones. The score is the trapezoidal area under the difference of their test accuracies, which is 0 at
    t = 0 and t = 1. The paper ranks ``Σ_c |∂CE/∂x|``; here maps are those of the protocol.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"kim": {"levels": "10/30/50/70/90", "repeats": "3"}}

    def evaluate(self, context: RetrainingContext) -> Tensor:
        """See ``RetrainingMetric.evaluate``."""
        difference = self.hits(context, context.maps, "smallest") - self.random_hits(context)
        return self.where_defined(area(difference, self.shares), context)
