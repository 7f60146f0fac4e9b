"""Sliced Wasserstein distance between maps as distributions of mass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.maps.rows import scaled
from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity
from attrobust.naming.checks import at_least


@register("wasserstein")
@dataclass(frozen=True, kw_only=True)
class Wasserstein(SpatialSimilarity):
    """Sliced Wasserstein-1 distance, in pixels, of ``|a|/Σ|a|`` and ``|b|/Σ|b|`` as distributions over positions.

    ``mean_θ ∫ |F_a^θ(t) - F_b^θ(t)| dt``: in each of ``angles`` directions, evenly spread over the half circle, the
    exact distance of the projections (Bonneel et al., Journal of Mathematical Imaging and Vision 51, 2015). Shifting a
    whole map by s pixels gives about ``2 s / π``. NaN where a map is zero everywhere.

    Attributes:
        angles: number of directions; the first is down the rows.
    """

    angles: int = 16

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    decimals: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "angles")

    @property
    def title(self) -> str:
        """``sliced Wasserstein (px)``."""
        return "sliced Wasserstein (px)"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``."""
        difference = scaled(a.abs().flatten(1), "sum") - scaled(b.abs().flatten(1), "sum")
        total = a.new_zeros(len(a))
        for order, gaps in _lines(a.shape[1], a.shape[2], self.angles, a.device):
            # Difference of the two cumulative distributions between each position and the next.
            apart = difference[:, order].cumsum_(dim=1).abs_()[:, :-1]
            total += (apart * gaps).sum(dim=1)
        return total / self.angles


@lru_cache(maxsize=2)
def _lines(height: int, width: int, angles: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """For each direction, the pixels in the order of their projections, and the gaps between these; N and N-1."""
    rows = torch.arange(height, dtype=torch.float64, device=device)[:, None]
    columns = torch.arange(width, dtype=torch.float64, device=device)
    lines = []
    for angle in (math.pi * number / angles for number in range(angles)):
        places, order = (math.cos(angle) * rows + math.sin(angle) * columns).flatten().sort()
        lines.append((order, places.diff()))
    return lines
