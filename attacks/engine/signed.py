"""Descent with a step that shrinks on a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from tqdm import trange

from attrobust.attacks.base import Context
from attrobust.attacks.engine.feasible import BestFeasible
from attrobust.attacks.engine.walk import Walk, Walking
from attrobust.naming.checks import above_zero


@dataclass(frozen=True, kw_only=True)
class SignedDescent(Walking):
    """Steepest descent with a step that shrinks linearly.

    Attributes:
        step: first step as a share of eps; the last is ``step / steps`` of eps.
    """

    step: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "step")

    def descend(self, context: Context, x: Tensor, y: Tensor, start: Tensor) -> BestFeasible:
        """See ``Walking.descend``."""
        threat, walk = context.threat, Walk(self, context, x, y)
        point = walk.visit(x, start, 0)
        for iteration in trange(self.steps, desc="steps", leave=False, disable=None):
            size = self.step * threat.eps * (1 - iteration / self.steps)
            proposal = threat.project(x, point.x - size * threat.direction(point.gradient))
            point = walk.visit(point.x, proposal, iteration + 1 if iteration + 1 < self.steps else None)
        return walk.best
