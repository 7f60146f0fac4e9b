"""Projected gradient descent, an attack on the prediction: Madry et al., ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.prediction import LowestMargin, PredictionAttack
from attrobust.naming.checks import above_zero, at_least


@register("pgd")
@dataclass(frozen=True, kw_only=True)
class Pgd(PredictionAttack):
    """Largest cross-entropy of the clean prediction, ``max CE(f(x'), argmax f(x))`` (arXiv 1706.06083, section 2.1).

    The attack is on the prediction and not on its explanation; RelEx's protocol explains the attacked images (arXiv
    2103.14332). It starts at a random point of the ball. The result is each image's iterate of lowest margin.

    Attributes:
        steps: iterations.
        step: size of one as a share of eps.
    """

    steps: int = 40
    step: float = 0.1

    def __post_init__(self) -> None:
        at_least(1, self, "steps")
        above_zero(self, "step")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        """See ``Attack.run``."""
        threat = context.threat
        with torch.no_grad():
            best = LowestMargin(x, context.model(x))
        current = threat.scatter(x, context.streams("start").uniform(x))
        for iteration in trange(self.steps + 1, desc="steps", leave=False, disable=None):
            attached = current.detach().requires_grad_()
            logits = context.model(attached)
            best.offer(current, logits)
            if iteration == self.steps:
                break
            loss = F.cross_entropy(logits, best.predicted, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, attached)
            current = threat.project(x, current + self.step * threat.eps * threat.direction(gradient))
        return best.x
