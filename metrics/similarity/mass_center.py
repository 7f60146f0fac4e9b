"""Shift of a map's centre of mass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.maps.center import mass_center
from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity


@register("mass-center")
@dataclass(frozen=True, kw_only=True)
class MassCenter(SpatialSimilarity):
    """Euclidean distance, in pixels, between the centres of mass of ``|a|`` and ``|b|`` (arXiv 1710.10547).

    NaN where a map is zero everywhere.

    Attributes:
        truncate: cut both centres to whole pixels, as official codes do; shifts of less than a pixel then count as 0
            or 1, depending on whether they cross a whole number.
    """

    truncate: bool = False

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    decimals: ClassVar[int] = 2
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "ghorbani": {"truncate": "true", "maps": "abs-sum"},
        "ssr": {"truncate": "true"},
    }

    @property
    def title(self) -> str:
        """E.g. ``mass-center shift (px)``."""
        return f"mass-center shift ({'whole ' if self.truncate else ''}px)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``."""
        centers = (mass_center(a), mass_center(b))
        if self.truncate:
            centers = (centers[0].trunc(), centers[1].trunc())
        distance: Tensor = (centers[0] - centers[1]).norm(dim=1)
        return distance
