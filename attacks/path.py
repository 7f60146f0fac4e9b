"""Top-k attacks on integrated gradients, as IFIA and ART make them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from scipy.stats import kendalltau
from torch import Tensor

from attacks import mass
from attacks.base import Context
from attacks.feasible import Objective
from attacks.ghorbani import Ghorbani
from attacks.maps import RightIG
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
        if self.points < 1:
            raise ValueError(f"points={self.points} must be at least 1")

    @property
    def idle(self) -> frozenset[str]:
        """Points belong to the official map."""
        return super().idle | (frozenset({"points"}) if self.variant == "corrected" else frozenset())

    def check_size(self, height: int, width: int) -> None:
        """A count of pixels must not be more than a map has."""
        self.k.of(height * width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Kendall's tau-b between the two maps."""
        return kendall(context.maps(x, y), self.k if self.masked else None)

    def guide(self, context: Context, x: Tensor, y: Tensor) -> Objective | None:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        clean = context.maps(x, y)
        return mass.share(mass.top_pixels(clean, self.k.of(clean[0].numel())))

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


def kendall(clean: Tensor, k: Amount | None) -> Objective:
    """Kendall's tau-b with the clean maps, exactly; not differentiable, and NaN where all values tie.

    Args:
        clean: maps, B×H×W.
        k: pixels that are compared, the largest of the clean map; None for all.
    """
    rows = clean.flatten(1)
    order = rows.abs().argsort(dim=1, descending=True, stable=True)
    chosen = order[:, : rows.shape[1] if k is None else k.of(rows.shape[1])]

    def at(maps: Tensor) -> Tensor:
        return maps.detach().flatten(1).gather(1, chosen).double().cpu()

    goal = at(clean)

    def tau(maps: Tensor) -> Tensor:
        found = [kendalltau(*pair).statistic for pair in zip(goal.numpy(), at(maps).numpy(), strict=True)]
        return torch.tensor(found, dtype=torch.float64, device=maps.device)

    return tau
