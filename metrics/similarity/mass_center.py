"""Shift of a map's centre of mass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity
from attrobust.metrics.shared.rows import with_norm


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
        centers = (center(a), center(b))
        if self.truncate:
            centers = (centers[0].trunc(), centers[1].trunc())
        distance: Tensor = (centers[0] - centers[1]).norm(dim=1)
        return distance


def center(maps: Tensor) -> Tensor:
    """Centre of mass of absolute values as (row, column) in pixels, B×H×W to B×2; NaN where a map is zero."""
    mass = with_norm(maps.abs().flatten(1), "l2")[0].view_as(maps)
    lines = mass.sum(dim=2), mass.sum(dim=1)
    places = (torch.arange(size, dtype=maps.dtype, device=maps.device) for size in maps.shape[1:])
    return torch.stack(
        [(line * place).sum(dim=1) / line.sum(dim=1) for line, place in zip(lines, places, strict=True)], dim=1
    )
