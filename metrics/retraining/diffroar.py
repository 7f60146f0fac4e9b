"""DiffROAR: accuracy after retraining without the least important pixels minus that without the most important."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.removal import RemovalMetric
from attrobust.metrics.shared.retraining import RetrainingContext


@register("diffroar")
@dataclass(frozen=True, kw_only=True)
class DiffROAR(RemovalMetric):
    """Accuracy after retraining without the least important pixels minus that without the most important ones.

    ``acc(least important removed) - acc(most important removed)``, mean over the levels (arXiv 2102.12781).

    Both accuracies are of networks that were trained and are tested on changed images. The paper gives one number for
    every share k of pixels that are kept, 100 % minus the level; ``levels=50`` gives one of them. It ranks every
    channel of a pixel by itself; here whole pixels are removed. It compares all pairs of repeats, which has the same
    mean.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """``DiffROAR (%)``: points of accuracy."""
        return "DiffROAR (%)"

    def evaluate(self, context: RetrainingContext) -> Tensor:
        """See ``RetrainingMetric.evaluate``."""
        difference = self.hits(context, context.maps, "smallest") - self.hits(context, context.maps, "largest")
        return self.where_defined(difference.mean(dim=1), context)
