"""Emptying the most important pixels: Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks import register
from attacks.base import Context
from attacks.descent import sum_normalized
from attacks.feasible import Objective
from attacks.signed import SignedDescent
from attrobust.types import Amount


@register("topk")
@dataclass(frozen=True, kw_only=True)
class TopK(SignedDescent):
    """Least mass on the clean map's top k: ``min Σ_{i in top-k(S(x))} S_i(x') / ΣS(x')`` (arXiv 1710.10547, section 3).

    Attributes:
        k: pixels of the map, a count or a percentage.
    """

    k: Amount = Amount(10, percent=True)

    def check_size(self, height: int, width: int) -> None:
        """A count of pixels must not be more than a map has."""
        self.k.of(height * width)

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Share of the map's mass on the pixels that were the k largest in absolute value."""
        clean = context.maps(x, y).abs().flatten(1)
        top = clean.topk(self.k.of(clean.shape[1]), dim=1).indices
        return lambda maps: sum_normalized(maps).abs().flatten(1).gather(1, top).sum(dim=1)
