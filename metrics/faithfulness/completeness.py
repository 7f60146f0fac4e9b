"""Completeness, whether attributions add up to the change of the output: Sundararajan, Taly and Yan 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.filling import Fill, filled
from attrobust.metrics.shared.logits import target_logit
from attrobust.types import Scope


@register("completeness")
@dataclass(frozen=True, kw_only=True)
class Completeness(Quality):
    """Error of the sum, ``|Σφ - Δ| / |Δ|``, ``Δ = f_c(x) - f_c(x0)``, φ the signed attributions (arXiv 1703.01365).

    It is 0 where the attributions add up to the change of the logit from the baseline x0, the paper's axiom, and 1 for
    a map of zeros. That of integrated gradients is the error of their quadrature, where x0 is their baseline. It says
    nothing of single pixels. NaN where an attribution is not finite, and with ``relative`` where Δ is 0.

    Attributes:
        fill: colour of every pixel of x0: ``black``, or ``mean``, the colour that is zero in normalised units.
        attribution: unit of a map's values. ``share``: logits, as integrated gradients and other products with the
            input. ``slope``: logits per pixel unit, as gradients; φ is multiplied by ``x - x0`` first.
        error: ``relative``, as above, or ``absolute``, ``|Σφ - Δ|``, in logits.
    """

    fill: Fill = "black"
    attribution: Literal["share", "slope"] = "share"
    error: Literal["relative", "absolute"] = "relative"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    scope: ClassVar[Scope] = "map"

    @property
    def title(self) -> str:
        """E.g. ``completeness error (share, black)``."""
        return f"completeness error ({self.attribution}, {self.fill})"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        x, raw = case.clean, case.clean_attributions
        colour = filled(case, self.fill)
        shares = raw * (x - colour) if self.attribution == "slope" else raw
        change = target_logit(case.model, x, case.target) - target_logit(case.model, colour, case.target)
        error = (shares.flatten(1).sum(dim=1) - change).abs()
        if self.error == "relative":
            error = (error / change.abs()).masked_fill(change == 0, float("nan"))
        return error.masked_fill(~raw.flatten(1).isfinite().all(dim=1), float("nan"))
