"""Shifting a map's centre of mass: Ghorbani et al., AAAI 2019."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.published.ghorbani import Ghorbani
from attrobust.maps.center import mass_center


@register("mass-center")
@dataclass(frozen=True, kw_only=True)
class MassCenter(Ghorbani):
    """Largest shift of the centre of mass: ``max ||C(S(x')) - C(S(x))||²`` (arXiv 1710.10547, section 3).

    ``variant=paper`` has the official steps, see ``published.ghorbani``, and measures the shift from the clean centre
    cut to whole pixels, as the official code does. The corrected form descends the exact shift by adaptive steps.

    Attributes:
        steps, step, beta, pool, growth: see ``published.ghorbani.Ghorbani``.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Minus the squared distance, in pixels, between the centres of the two maps' absolute values."""
        clean = mass_center(context.maps(x, y))
        if self.variant == "paper":
            clean = clean.trunc()
        return lambda maps: -(mass_center(maps) - clean).square().sum(dim=1)
