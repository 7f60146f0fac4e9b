"""Top-k intersection: how many of the most important pixels stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.ranks import top_mask
from attrobust.types import Amount
from metrics import register
from metrics.base import Similarity


@register("topk")
@dataclass(frozen=True, kw_only=True)
class TopK(Similarity):
    """``|T_k(a) ∩ T_k(b)| / k``, the share of the k pixels of largest value that both maps have (arXiv 1710.10547).

    Pixels that tie at the k-th place are taken in reading order, the same rule for both maps, so that a map always
    agrees with itself. Undefined (NaN) where a map is constant: it has no most important pixels.

    Attributes:
        k: a count of pixels or a percentage of them.
    """

    k: Amount = Amount(10, percent=True)

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """E.g. ``top-10% (%)``."""
        return f"top-{self.k} (%)"

    def check_size(self, height: int, width: int) -> None:
        """A count of pixels must not be more than a map has."""
        self.k.of(height * width)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        k = self.k.of(a.shape[1])
        shared = (top_mask(a, k) & top_mask(b, k)).sum(dim=1).double() / k
        constant = is_constant(a) | is_constant(b)
        return shared.masked_fill(constant, float("nan"))


def is_constant(maps: Tensor) -> Tensor:
    """bool[B]: all values of the row are equal."""
    return maps.amax(dim=1) == maps.amin(dim=1)
