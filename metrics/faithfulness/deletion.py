"""Deletion: how fast the class probability falls as the map's most important pixels are removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.curve import Curve


@register("deletion")
@dataclass(frozen=True, kw_only=True)
class Deletion(Curve):
    """Area under the class probability as the most important pixels are replaced first (arXiv 1806.07421).

    Pixels of the image are replaced by the fill colour in the order of its map. Order, ties and area are those of
    ``Curve``. With a constant map no pixel is replaced before the end, which gives the worst score. (An unused mode of
    AGA's code also replaces the pixel at the threshold and all that tie with it, which would give a constant map the
    best score.)
    """

    higher_is_better: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "relex": {"steps": "224", "fill": "mean", "area": "trapezoid"},
        "rise": {"steps": "224", "fill": "mean", "area": "trapezoid"},
    }

    @property
    def title(self) -> str:
        """E.g. ``deletion AUC (mean)``."""
        return f"deletion AUC ({self.fill})"

    def ends(self, images: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Curve.ends``."""
        return images, filled
