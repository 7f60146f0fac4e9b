"""Base class of top-k attacks on integrated gradients: IFIA and ART."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import mass, scores
from attrobust.attacks.published.ghorbani import Ghorbani
from attrobust.attacks.published.maps import RightIG
from attrobust.naming.checks import at_least
from attrobust.types import Amount

AT_ONCE = 512
"""About how many points of integration paths are held in memory together, with their second derivatives."""


@dataclass(frozen=True, kw_only=True)
class OnPath(Ghorbani):
    """Least mass on the clean map's top k; the result is the iterate of lowest Kendall's tau.

    ``variant=paper`` takes the official steps, see ``published.ghorbani``, and attacks integrated gradients of the
    logit by the right Riemann sum from black, channels summed in absolute value. Their gradient is that of the path,
    ``Σ_k (k/m) ∂/∂x_k``; the factor x in front of the integral is treated as a constant.

    Attributes:
        k: pixels of the map, a count or a percentage.
        points: m of the official map.
        steps, step, beta, pool, growth: see ``published.ghorbani.Ghorbani``.
    """

    k: Amount = Amount(10, percent=True)
    points: int = 100
    step: float = 1 / 255

    masked: ClassVar[bool] = False
    """Whether Kendall's tau is that of the clean map's top k alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "points")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``; only the official map has ``points``."""
        return super().without_effect | (frozenset({"points"}) if self.variant == "corrected" else frozenset())

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is more than the pixels of a map."""
        self.k.of(height * width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Kendall's tau-b between the two maps."""
        clean = context.maps(x, y)
        if not self.masked:
            return scores.kendall(clean)
        top = self._top(clean)
        tau = scores.kendall(clean[top].view(len(x), -1))
        return lambda maps: tau(maps[top].view(len(x), -1))

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        return mass.share(self._top(context.maps(x, y)))

    def situation(self, context: Context) -> Context:
        """The context of the official code, with the map that it attacks."""
        return replace(
            super().situation(context),
            explainer=RightIG(self.points, product_rule=False),
            reduce=lambda maps: maps.abs().sum(dim=1),
            surrogate=None,
            observer=None,
        )

    def official(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Published.official``; a few images at a time, so that their paths fit into memory."""
        moved = torch.empty_like(x)
        size = max(1, AT_ONCE // self.points)
        for first in range(0, len(x), size):
            rows = list(range(first, min(first + size, len(x))))
            moved[rows] = super().official(context.take(rows), x[rows], y[rows])
        return moved

    def _top(self, clean: Tensor) -> Tensor:
        return mass.top_pixels(clean, self.k.of(clean[0].numel()))
