"""LENS, top-k intersection that allows shifts of a few pixels: Kamath et al., AAAI 2024."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from attrobust.maps.ranks import top_mask
from attrobust.maps.rows import is_constant
from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity
from attrobust.types import Amount


@dataclass(frozen=True, kw_only=True)
class Lens(SpatialSimilarity, kind=True):
    """Base class: share of one map's top k inside w×w windows around the other's top k (arXiv 2312.10534).

    Windows end at the edges of the map. In the official code they are made of positions in the flattened map: at the
    right and the left edge they continue in the neighbouring row, and they never contain the first pixel.

    Attributes:
        k: a count of pixels or a percentage of them; among equal values earlier pixels come first, as in ``topk``.
        window: w, odd; the paper takes 3, 5 and 7. With 1 it is the top-k intersection.
    """

    k: Amount = Amount(10, percent=True)
    window: int = 3

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "kamath-mnist": {"k": "100", "window": "3"},
        "kamath-imagenet": {"k": "1000", "window": "3"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window={self.window} must be odd and at least 1")

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is more than the pixels of a map."""
        self.k.of(height * width)

    def _found(self, wide: Tensor, narrow: Tensor) -> Tensor:
        """Share of the top k of ``narrow`` in windows around those of ``wide``, B×H×W; NaN where a map is constant."""
        height, width = wide.shape[1:]
        k = self.k.of(height * width)
        around, top = (top_mask(maps.flatten(1), k).view_as(maps) for maps in (wide, narrow))
        dilated = F.max_pool2d(around.float()[:, None], self.window, stride=1, padding=self.window // 2) > 0
        share = (dilated[:, 0] & top).sum(dim=(1, 2)).double() / k
        return share.masked_fill(is_constant(wide.flatten(1)) | is_constant(narrow.flatten(1)), float("nan"))


@register("lens-recall")
@dataclass(frozen=True, kw_only=True)
class LensRecall(Lens):
    """LENS-recall@k: the share of the attacked map's top k that lies in windows around the clean map's.

    See ``Lens`` for the settings.
    """

    @property
    def title(self) -> str:
        """E.g. ``LENS-recall-10%, w=3 (%)``."""
        return f"LENS-recall-{self.k}, w={self.window} (%)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``."""
        return self._found(a, b)


@register("lens-precision")
@dataclass(frozen=True, kw_only=True)
class LensPrecision(Lens):
    """LENS-precision@k: the share of the clean map's top k that lies in windows around the attacked map's.

    See ``Lens`` for the settings.
    """

    @property
    def title(self) -> str:
        """E.g. ``LENS-precision-10%, w=3 (%)``."""
        return f"LENS-precision-{self.k}, w={self.window} (%)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``."""
        return self._found(b, a)
