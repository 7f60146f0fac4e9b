"""Random perturbations, the baseline of every attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.feasible import BestFeasible, Objective
from attrobust.attacks.objectives.scores import cosine
from attrobust.naming.checks import at_least


@register("noise")
@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Random draws from the ball; per image the feasible draw whose map has the lowest cosine with the clean map.

    Attributes:
        draws: number of draws. With 1 the mean score over images is the expected score of random perturbation, which
            AGA's RPS estimates with ten.
    """

    draws: int = 10

    def __post_init__(self) -> None:
        at_least(1, self, "draws")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        best = BestFeasible(context, x, y, self.score(context.maps(x, y)))
        for candidate in self.candidates(context, x):
            best.offer(candidate)
        return best.x

    def score(self, clean: Tensor) -> Objective:
        """The objective that chooses the draw, given the clean maps, B×H×W."""
        return cosine(clean)

    def candidates(self, context: Context, x: Tensor) -> Iterator[Tensor]:
        """The draws, B×C×H×W each."""
        streams = context.streams("noise")
        for _ in range(self.draws):
            yield context.threat.scatter(x, streams.uniform(x))
