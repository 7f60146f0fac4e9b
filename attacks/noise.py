"""Random perturbations: what every attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from attacks import register
from attacks.base import Attack, Context
from attacks.feasible import BestLegal


@register("noise")
@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Random draws from the ball; per image the legal draw whose map has the lowest cosine with the clean map.

    Attributes:
        draws: how many are tried. With 1 the mean score over images is the expected score of random perturbation, which
            AGA's RPS estimates with ten.
    """

    draws: int = 10

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws={self.draws} must be at least 1")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        clean = context.maps(x, y).flatten(1)
        best = BestLegal(context, x, y, lambda maps: F.cosine_similarity(maps.flatten(1), clean, dim=1))
        streams = context.streams("noise")
        for _ in range(self.draws):
            best.offer(context.threat.scatter(x, streams.uniform(x)))
        return best.x
