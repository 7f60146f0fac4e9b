"""Deletion: how soon the decision is lost without the pixels a map ranks first."""

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
    """Area under ``p_c`` while pixels of the image give way to the fill colour in order of its map (arXiv 1806.07421).

    Order, ties and area are those of ``Curve``. A constant map takes nothing away before the end, which makes it last.
    (A mode of AGA's code that it never uses takes the pixel at the threshold away as well, and all that tie with it: a
    constant map would be first.)
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
