"""Penalty on the input gradient of the loss: Ross and Doshi-Velez, AAAI 2018; Finlay and Oberman 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.gradients import differentiable, loss_gradient
from attrobust.naming.checks import not_negative
from attrobust.types import Card, Cost


@register("input-gradient")
@dataclass(frozen=True, kw_only=True)
class InputGradient(Activated):
    """Penalty on the mean squared norm of each image's loss gradient; its strength does not depend on the batch size.

    Attributes:
        lam: weight of the penalty, for gradients in pixel units.
        norm: ``l2`` as in Ross and Doshi-Velez; ``l1`` is dual to perturbations bounded in linf (Finlay and Oberman).
        softplus: see ``Activated``.
    """

    lam: float = 0.1
    norm: Literal["l2", "l1"] = "l2"

    card: ClassVar[Card] = Card(
        title="Improving the Adversarial Robustness and Interpretability of Deep Neural Networks by Regularizing their "
        "Input Gradients",
        authors="Ross and Doshi-Velez",
        year=2018,
        arxiv="1711.09404",
        equation="L = CE(f(x), y) + lam mean ||grad_x CE(f(x), y)||^2",
        note="norm=l1: Finlay and Oberman, arXiv 1905.11468. LCNN's code takes the gradient of the batch mean and "
        "multiplies by 1e5 / B, which is lam = 1e5 / B^2 times its own weight here.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=1, backward=2, double_backward=1)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus the penalty; a scalar."""
        x = differentiable(x)
        logits = model(x)
        gradient = loss_gradient(logits, x, y, create_graph=True).flatten(1)
        squares = gradient.square().sum(dim=1) if self.norm == "l2" else gradient.abs().sum(dim=1).square()
        return F.cross_entropy(logits, y) + self.lam * squares.mean()
