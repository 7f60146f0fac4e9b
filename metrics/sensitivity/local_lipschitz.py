"""Local Lipschitz estimate, the fastest change of a map around an image: Alvarez-Melis and Jaakkola 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from attrobust.maps.lengths import PIXELS
from attrobust.metrics import register
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.neighbours import Measure, NeighbourMetric


@register("local-lipschitz")
@dataclass(frozen=True, kw_only=True)
class LocalLipschitz(NeighbourMetric):
    """``max_δ ‖Φ(x + δ) - Φ(x)‖₂ / ‖δ‖₂`` over random δ in a linf ball, Φ signed attributions (arXiv 1806.08049).

    Random draws give a lower bound of the maximum over the ball. (Quantus draws Gaussian noise instead.) The paper's
    quotient is small for every network with small gradients, whatever its maps, so it does not compare networks; the
    default divides it by ``‖Φ(x)‖₂``. A map that never moves scores 0 and says nothing by it. NaN where the
    attributions of the image are zero everywhere, or any are not finite.

    Attributes:
        normalize: ``length`` divides both maps by the l2 norm of ``Φ(x)``; ``none`` is the paper's; ``largest`` divides
            each map by its own largest absolute value, as Quantus does by default.
    """

    normalize: Literal["length", "none", "largest"] = "length"

    @property
    def title(self) -> str:
        """E.g. ``local Lipschitz (8/255, 10 draws, length)``."""
        return f"local Lipschitz ({self.ball}, {self.samples} draws, {self.normalize})"

    def measure(self, case: Case) -> Measure:
        """See ``NeighbourMetric.measure``."""
        base = case.clean_attributions
        size = base.abs().amax(dim=PIXELS, keepdim=True)
        if self.normalize == "length":
            size = size * (base / size).flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        empty = ~(size > 0).flatten()

        def quotient(moved: Tensor) -> Tensor:
            maps = case.explain(moved, case.target)
            match self.normalize:
                case "length":
                    change = (maps - base) / size
                case "none":
                    change = maps - base
                case "largest":
                    change = maps / maps.abs().amax(dim=PIXELS, keepdim=True) - base / size
            ratio: Tensor = change.flatten(1).norm(dim=1) / (moved - case.clean).flatten(1).norm(dim=1)
            return ratio.masked_fill(empty, float("nan"))

        return quotient
