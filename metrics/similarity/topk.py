"""Top-k intersection, the share of the most important pixels common to both maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.maps import similarity
from attrobust.maps.rows import is_constant
from attrobust.metrics import register
from attrobust.metrics.base import Similarity
from attrobust.types import Amount


@register("topk")
@dataclass(frozen=True, kw_only=True)
class TopK(Similarity):
    """Top-k intersection, ``|T_k(a) ∩ T_k(b)| / k`` of the k most important pixels (arXiv 1710.10547).

    Pixels that tie at the k-th place are taken in reading order, the same rule for both maps, so that a map always
    agrees with itself. Undefined (NaN) where all values of a map are equal.

    Attributes:
        k: a count of pixels or a percentage of them.
        of: importance is the ``value``, or the ``abs`` value for maps with signs.
    """

    k: Amount = Amount(10, percent=True)
    of: Literal["value", "abs"] = "value"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1
    # On MNIST, Fashion-MNIST and CIFAR-10, except for Ghorbani's and RelEx's ImageNet.
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "art": {"k": "100"},
        "atex": {"k": "50", "maps": "abs-channels"},
        "ghorbani": {"k": "1000", "maps": "abs-sum"},
        "igr": {"k": "100"},
        "r2et": {"k": "50"},
        "rar": {"k": "100"},
        "relex": {"k": "1000"},
        "ssr": {"k": "20"},
    }

    @property
    def title(self) -> str:
        """E.g. ``top-10% (%)``."""
        return f"top-{self.k}{' of |a|' if self.of == 'abs' else ''} (%)"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is more than the pixels of a map."""
        self.k.of(height * width)

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        if self.of == "abs":
            a, b = a.abs(), b.abs()
        shared = similarity.shared_top(a, b, self.k.of(a.shape[1]))
        return shared.masked_fill(is_constant(a) | is_constant(b), float("nan"))
