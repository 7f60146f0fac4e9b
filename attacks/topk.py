"""Least mass on the most important pixels: the top-k attack of Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import mass, scores
from attrobust.attacks.published.ghorbani import Ghorbani
from attrobust.types import Amount


@register("topk")
@dataclass(frozen=True, kw_only=True)
class TopK(Ghorbani):
    """Least mass on the clean map's top k: ``min Σ_{i in top-k(S(x))} S_i(x') / ΣS(x')`` (arXiv 1710.10547, section 3).

    ``variant=paper`` has the official steps, see ``published.ghorbani``, and keeps the iterate with the smallest top-k
    intersection. By default the objective is descended by adaptive steps from a random start, in a smoothed model whose
    temperature is proportional to the activation displacement, and the iterate of lowest objective is kept.

    Attributes:
        k: pixels of the map, a count or a percentage; the paper takes 1000 of ImageNet's.
        steps, step, beta, pool, growth: see ``published.ghorbani.Ghorbani``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    k: Amount = Amount(10, percent=True)

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is every pixel of the map."""
        mass.check_some_left(self.k, height, width)

    @property
    def floor(self) -> float:
        """0, where no mass is left on the clean top k."""
        return 0.0

    def emptied(self, maps: Tensor) -> Tensor:
        """Pixels of the clean maps whose mass is minimised, bool B×H×W."""
        return mass.top_pixels(maps, self.k.of(maps[0].numel()))

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        return mass.share(self.emptied(context.maps(x, y)))

    def measure(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Top-k intersection of attacked and clean map."""
        clean = context.maps(x, y)
        return scores.topk(clean, self.k.of(clean[0].numel()))
