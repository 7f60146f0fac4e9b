"""Concentrating a map in a region of the image: the targeted attack of Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import mass
from attrobust.attacks.published.ghorbani import Ghorbani
from attrobust.types import Amount

Place = Literal["center", "top-left", "top-right", "bottom-left", "bottom-right"]


@register("region")
@dataclass(frozen=True, kw_only=True)
class Region(Ghorbani):
    """Most mass in a rectangle of the map: ``max Σ_{i in region} S_i(x') / ΣS(x')`` (arXiv 1710.10547, section 3).

    The paper names a region by hand for each image; here it is the same for all. ``variant=paper`` has the official
    steps, see ``published.ghorbani``; the corrected form descends the same objective by adaptive steps.

    Attributes:
        place: a corner of the map, or its centre.
        side: of the rectangle, in pixels or as a percentage of the map's height and width.
        steps, step, beta, pool, growth: see ``published.ghorbani.Ghorbani``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    place: Place = "top-left"
    side: Amount = Amount(50, percent=True)

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where the rectangle is the whole map."""
        if self.side.of(height) == height and self.side.of(width) == width:
            raise ValueError(f"side={self.side} leaves nothing outside the region of a {height}×{width} map")

    @property
    def floor(self) -> float:
        """-1, where all mass lies in the region."""
        return -1.0

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Minus the share of the map's mass that lies in the region."""
        inside = mass.share(region(x.shape[-2], x.shape[-1], self.place, self.side).to(x.device))
        return lambda maps: -inside(maps)


def region(height: int, width: int, place: Place, side: Amount) -> Tensor:
    """True inside the rectangle; bool, height×width."""
    chosen = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = side.of(height), side.of(width)
    top = {"t": 0, "b": height - rows}.get(place[0], (height - rows) // 2)
    left = 0 if place.endswith("left") else width - columns if place.endswith("right") else (width - columns) // 2
    chosen[top : top + rows, left : left + columns] = True
    return chosen
