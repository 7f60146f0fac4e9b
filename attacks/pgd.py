"""Changing the prediction itself: projected gradient descent, Madry et al., ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from attacks import register
from attacks.base import Attack, Context
from attrobust.types import ThreatModel


@register("pgd")
@dataclass(frozen=True, kw_only=True)
class Pgd(Attack):
    """Largest cross-entropy of the clean prediction, ``max CE(f(x'), argmax f(x))`` (arXiv 1706.06083, section 2.1).

    It attacks what the network decides and not how that is explained, which RelEx's protocol explains afterwards (arXiv
    2103.14332). It starts at a random point of the ball. Every image keeps its first iterate that is predicted
    otherwise, or else the one of largest loss.

    Attributes:
        steps: iterations.
        step: size of one as a share of eps.
    """

    steps: int = 40
    step: float = 0.1

    on_prediction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if not self.step > 0:
            raise ValueError(f"step must be above 0, not {self.step:g}")

    def check_threat(self, threat: ThreatModel) -> None:
        """An attack on the prediction must be free to change it."""
        if threat.keep_prediction:
            raise ValueError("pgd changes predictions; allow it with --allow-flips or keep_prediction=False")

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        """See ``Attack.run``."""
        threat = context.threat
        predicted = context.predict(x)
        best, highest = x, torch.full_like(x[:, 0, 0, 0], -torch.inf)
        flipped = torch.zeros_like(predicted, dtype=torch.bool)
        current = threat.scatter(x, context.streams("start").uniform(x))
        for iteration in trange(self.steps + 1, desc="steps", leave=False, disable=None):
            attached = current.detach().requires_grad_()
            logits = context.model(attached)
            loss = F.cross_entropy(logits, predicted, reduction="none")
            flips = logits.argmax(dim=1) != predicted
            better = ~flipped & (flips | (loss.detach() > highest))
            best = torch.where(better.view(-1, 1, 1, 1), current, best)
            highest = torch.where(better, loss.detach(), highest)
            flipped |= flips
            if iteration == self.steps:
                break
            (gradient,) = torch.autograd.grad(loss.sum(), attached)
            current = threat.project(x, current + self.step * threat.eps * threat.direction(gradient))
        return best
