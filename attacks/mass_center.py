"""Moving the centre of a map: Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import register
from attacks.base import Context
from attacks.descent import sum_normalized
from attacks.feasible import Objective
from attacks.signed import SignedDescent


@register("mass-center")
@dataclass(frozen=True, kw_only=True)
class MassCenter(SignedDescent):
    """Largest shift of the centre of mass: ``max ||C(S(x')) - C(S(x))||²`` (arXiv 1710.10547, section 3)."""

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Minus the squared distance, in pixels, between the centres of the two maps' absolute values."""
        clean = mass_center(context.maps(x, y))
        return lambda maps: -(mass_center(maps) - clean).square().sum(dim=1)


def mass_center(maps: Tensor) -> Tensor:
    """Centre of mass of ``|S|`` as (row, column) in pixels, not rounded; B×H×W to B×2."""
    mass = sum_normalized(maps).abs()
    rows = torch.arange(maps.shape[1], dtype=maps.dtype, device=maps.device)
    columns = torch.arange(maps.shape[2], dtype=maps.dtype, device=maps.device)
    return torch.stack([(mass.sum(dim=2) * rows).sum(dim=1), (mass.sum(dim=1) * columns).sum(dim=1)], dim=1)
