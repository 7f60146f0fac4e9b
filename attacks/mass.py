"""Where the mass of a map lies: objectives of the published attacks."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks import ranks
from attacks.descent import sum_normalized
from attacks.feasible import Objective


def share(chosen: Tensor) -> Objective:
    """``Σ_{i chosen} |S_i| / Σ|S|``.

    Args:
        chosen: bool, H×W or B×H×W.
    """
    return lambda maps: (sum_normalized(maps).abs() * chosen).sum(dim=(1, 2))


def top_pixels(maps: Tensor, k: int) -> Tensor:
    """bool B×H×W, True at the k pixels of each map that are largest in absolute value, earlier ones first."""
    return ranks.top_mask(maps.abs().flatten(1), k).view_as(maps)


def mass_center(maps: Tensor) -> Tensor:
    """Centre of mass of ``|S|`` as (row, column) in pixels, not rounded; B×H×W to B×2."""
    mass = sum_normalized(maps).abs()
    rows = torch.arange(maps.shape[1], dtype=maps.dtype, device=maps.device)
    columns = torch.arange(maps.shape[2], dtype=maps.dtype, device=maps.device)
    return torch.stack([(mass.sum(dim=2) * rows).sum(dim=1), (mass.sum(dim=1) * columns).sum(dim=1)], dim=1)
