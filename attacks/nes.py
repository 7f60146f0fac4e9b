"""A query attack with gradients estimated by natural evolution strategies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import trange

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestFeasible, defined_score
from attrobust.attacks.engine.scored import Scored
from attrobust.naming.checks import above_zero, at_least


@register("nes")
@dataclass(frozen=True, kw_only=True)
class Nes(Scored):
    """Lowest score by natural evolution strategies, a black-box attack that only queries maps.

    The gradient is estimated from antithetic pairs of points, ``Σ (s(x + σu) - s(x - σu)) u`` with normal u (arXiv
    1804.08598, section 3; AttaXAI attacks explanations so). A step that would change the prediction is not made. All
    queried points lie in the ball and the box, and each is a candidate for the result.

    Attributes:
        queries: maps computed per image, at most; only whole iterations are made.
        pairs: of queries for each estimate.
        sigma: size of the differences as a share of eps: for linf a pixel's standard deviation, for l2 the length.
        step: first step as a share of eps; it shrinks linearly to 0.
        momentum: share of the last direction in the next.
    """

    queries: int = 1000
    pairs: int = 5
    sigma: float = 0.5
    step: float = 0.5
    momentum: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "pairs")
        if self.queries < 2 * self.pairs + 2:
            raise ValueError(f"queries={self.queries} must be at least {2 * self.pairs + 2}, a start and one iteration")
        above_zero(self, "sigma", "step")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum:g} must be at least 0 and below 1")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        threat, score = context.threat, self.objective(context, x, y)
        best, streams = BestFeasible(context, x, y, score), context.streams("nes")
        spread = self.sigma * threat.eps / (math.sqrt(x[0].numel()) if threat.norm == "l2" else 1)

        def ask(point: Tensor) -> tuple[Tensor, Tensor]:
            """Scores of points, float[B], infeasible ones included, and which are feasible, bool[B]."""
            maps, logits = context.maps_and_logits(point, y)
            return defined_score(score, maps), best.offer(point, maps, logits).isfinite()

        def go(here: Tensor, there: Tensor) -> Tensor:
            return torch.where(ask(there)[1].view(-1, 1, 1, 1), there, here)

        current = go(x, threat.scatter(x, streams.uniform(x)))
        iterations, velocity = (self.queries - 1) // (2 * self.pairs + 1), torch.zeros_like(x)
        for iteration in trange(iterations, desc="steps", leave=False, disable=None):
            estimate = torch.zeros_like(x)
            for _ in range(self.pairs):
                noise = spread * streams.normal(x)
                ahead, behind = (threat.project(x, current + side * noise) for side in (1, -1))
                difference = (ask(ahead)[0] - ask(behind)[0]).nan_to_num(nan=0.0).to(x)
                estimate += difference.view(-1, 1, 1, 1) * (ahead - behind)
            velocity = self.momentum * velocity + (1 - self.momentum) * estimate
            size = self.step * threat.eps * (1 - iteration / iterations)
            current = go(current, threat.project(x, current - size * threat.direction(velocity)))
        return best.x
