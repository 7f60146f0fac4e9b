"""Where the mass of a map lies."""

from __future__ import annotations

import torch
from torch import Tensor

from attrobust.maps.rows import with_norm


def mass_center(maps: Tensor) -> Tensor:
    """Centre of mass of absolute values as (row, column) in pixels, not rounded; NaN where a map is zero everywhere.

    ``Σ |a_ij| (i, j) / Σ |a_ij|``, B×H×W to B×2, differentiable.
    """
    mass = with_norm(maps.abs().flatten(1), "l2")[0].view_as(maps)
    lines = mass.sum(dim=2), mass.sum(dim=1)
    places = (torch.arange(size, dtype=maps.dtype, device=maps.device) for size in maps.shape[1:])
    return torch.stack(
        [(line * place).sum(dim=1) / line.sum(dim=1) for line, place in zip(lines, places, strict=True)], dim=1
    )
