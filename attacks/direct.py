"""Descending the very score that maps are compared by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adaptive import AdaptiveDescent
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.scored import Scored
from attrobust.attacks.objectives import ranks
from attrobust.naming.checks import above_zero

TEMPERATURES = {"topk": 0.25, "spearman": 0.4, "kendall": 0.4}
"""Of the stand-ins, in standard deviations of the map: what lowered the exact scores most."""


@register("direct")
@dataclass(frozen=True, kw_only=True)
class Direct(Scored, AdaptiveDescent):
    """Lowest score of the attacked map, with a step for every image (arXiv 2003.01690) and momentum.

    Scores of order have no derivative, so a smooth stand-in is followed in their place; the best iterate is kept by the
    exact score.

    Attributes:
        temperature: of the stand-in for ``topk``, ``spearman`` and ``kendall``, in standard deviations of the map: the
            difference that a sigmoid comparison takes for one; None for what was found best for the score.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "temperature")
        if self.temperature is not None and self.score not in TEMPERATURES:
            raise ValueError(f"temperature has no effect with score={self.score}, which is followed as it is")

    @property
    def floor(self) -> float:
        """No pixel is left of the top k."""
        return 0.0 if self.score == "topk" else super().floor

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """The stand-in, for a score of order."""
        if self.score not in TEMPERATURES:
            return None
        clean = context.maps(x, y)
        temperature = self.temperature or TEMPERATURES[self.score]
        if self.score == "topk":
            return ranks.soft_topk(clean, self.k.of(clean[0].numel()), temperature)
        return ranks.soft_spearman(clean, temperature)
