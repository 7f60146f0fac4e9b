"""Objectives of where a map's mass lies: share on chosen pixels, centre of mass."""

from __future__ import annotations

from torch import Tensor

from attrobust.attacks.engine.descent import sum_normalized
from attrobust.attacks.engine.feasible import Objective
from attrobust.maps.ranks import top_mask
from attrobust.types import Amount


def share(chosen: Tensor) -> Objective:
    """Share of a map's mass on the chosen pixels, ``Σ_{i chosen} |S_i| / Σ|S|``.

    Args:
        chosen: bool, H×W or B×H×W.
    """
    return lambda maps: (sum_normalized(maps).abs() * chosen).sum(dim=(1, 2))


def check_some_left(k: Amount, height: int, width: int) -> None:
    """Raise ValueError where k pixels are more than a map has, or all of them."""
    if k.of(height * width) == height * width:
        raise ValueError(f"k={k} is every pixel of a {height}×{width} map, which always has all the mass")


def top_pixels(maps: Tensor, k: int) -> Tensor:
    """bool B×H×W, True at the k pixels of each map that are largest in absolute value, earlier ones first."""
    return top_mask(maps.abs().flatten(1), k).view_as(maps)
