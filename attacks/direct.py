"""Gradient descent on a similarity score of the maps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adaptive import AdaptiveDescent
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.scored import Scored
from attrobust.attacks.objectives import stand_ins
from attrobust.naming.checks import above_zero

TEMPERATURES = {"topk": 0.25, "spearman": 0.4, "kendall": 0.4}
"""Default temperatures of surrogates, in standard deviations of the map: those that lowered the exact scores most."""


@register("direct")
@dataclass(frozen=True, kw_only=True)
class Direct(Scored, AdaptiveDescent):
    """Lowest score of the attacked map, by descent with momentum and an adaptive step per image (arXiv 2003.01690).

    Scores of ranks have no useful derivative, so a smooth surrogate of the score is differentiated; the best iterate is
    chosen by the exact score.

    Attributes:
        temperature: of the surrogate of ``topk``, ``spearman`` and ``kendall``, in standard deviations of the map:
            comparisons become ``sigmoid(difference / temperature)``. None for the score's default in ``TEMPERATURES``.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "temperature")
        if self.temperature is not None and self.score not in TEMPERATURES:
            raise ValueError(f"temperature has no effect with score={self.score}, which is followed as it is")

    @property
    def floor(self) -> float:
        """0 for ``topk``, where no pixel of the clean top k is left."""
        return 0.0 if self.score == "topk" else super().floor

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """The smooth surrogate of a score of ranks; None for other scores."""
        if self.score not in TEMPERATURES:
            return None
        clean = context.maps(x, y)
        temperature = self.temperature or TEMPERATURES[self.score]
        if self.score == "topk":
            return stand_ins.soft_topk(clean, self.k.of(clean[0].numel()), temperature)
        return stand_ins.soft_spearman(clean, temperature)
