"""Adversarial training with a penalty on integrated gradients: IG-SUM-NORM (Chen et al., NeurIPS 2019)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.ig_norm import IgNorm
from attrobust.types import Card, Cost


@register("ig-sum-norm")
@dataclass(frozen=True, kw_only=True)
class IgSumNorm(IgNorm):
    """Cross-entropy at x' plus the l1 norm of the loss's integrated gradients from x to x', maximised over the ball.

    Attributes:
        lam: weight of the norm, the paper's beta: 0.1 on MNIST, 1 on GTSRB.
        points, attack_points, eps, norm, steps, step, softplus: see ``IgNorm``.
    """

    lam: float = 0.1

    card: ClassVar[Card] = dataclasses.replace(
        IgNorm.card, equation="L = max CE(f(x'), y) + lam ||IG_CE(x -> x')||_1 over the ball"
    )

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return super().cost(classes) + Cost(forward=self.steps, backward=self.steps)

    def _gain(self, model: nn.Module, x: Tensor, moved: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(moved), y, reduction="sum") + self.lam * super()._gain(model, x, moved, y)

    def _images_of_loss(self, x: Tensor, moved: Tensor) -> Tensor:
        return moved
