"""Top-k attacks on integrated gradients, as IFIA and ART make them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import mass, ranks
from attrobust.attacks.published.ghorbani import Ghorbani
from attrobust.attacks.published.maps import RightIG
from attrobust.naming.checks import at_least
from attrobust.types import Amount

AT_ONCE = 512
"""Points of paths whose second derivatives are held in memory together, about."""


@dataclass(frozen=True, kw_only=True)
class OnPath(Ghorbani):
    """Least mass on the clean map's top k, and of all points met the one whose order of pixels agrees least.

    ``variant=paper`` takes the official steps, see ``attacks.ghorbani``, on a map of its own: integrated gradients of
    the logit by the right Riemann sum from black, channels summed in absolute value. Their gradient is that of the
    path, ``Σ_k (k/m) ∂/∂x_k``; the factor x in front of the integral counts as a constant.

    Attributes:
        k: pixels of the map, a count or a percentage.
        points: m of the official map.
        steps, step, beta, pool, growth: see ``attacks.ghorbani.Ghorbani``.
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
    def idle(self) -> frozenset[str]:
        """Points belong to the official map."""
        return super().idle | (frozenset({"points"}) if self.variant == "corrected" else frozenset())

    def check_size(self, height: int, width: int) -> None:
        """A count of pixels must not be more than a map has."""
        self.k.of(height * width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Kendall's tau-b between the two maps."""
        clean = context.maps(x, y)
        if not self.masked:
            return ranks.kendall(clean)
        top = self._top(clean)
        tau = ranks.kendall(clean[top].view(len(x), -1))
        return lambda maps: tau(maps[top].view(len(x), -1))

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        return mass.share(self._top(context.maps(x, y)))

    def situation(self, context: Context) -> Context:
        """That of the official code's own map."""
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
