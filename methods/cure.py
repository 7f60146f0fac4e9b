"""Penalty on the curvature of the loss along the sign of its gradient: CURE (Moosavi-Dezfooli et al., CVPR 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.base import Batch
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.gradients import differentiable, loss_gradient, per_image
from attrobust.naming.checks import above_zero, not_negative
from attrobust.networks.smoothed import input_scale
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost

RAMP = (1 / 30, 4 / 30, 8 / 30, 18 / 30, 1.0)
"""Shares of the final step h in the official notebook's first epochs: .1, .4, .8, 1.8 and 3."""


@register("cure")
@dataclass(frozen=True, kw_only=True)
class Cure(Activated):
    """Penalty on the change of the loss gradient over a step h along its sign; starts from trained weights.

    ``z = h sign(g) / ||sign(g)||`` and the penalty is ``mean ||∇CE(x + z) − ∇CE(x)||``, in normalised input units and
    with the network in evaluation mode, as in the official code. The paper squares the norm (``squared=true``): on
    network S of the reference vectors that is 0.17 times the norm at h = 0.1 and 1.4 times at h = 3, so a ``lam`` for
    one is not right for the other.

    Attributes:
        lam: weight of the penalty; the official notebook has 1, its class 4.
        h: l2 length of the final step in pixels.
        ramp: whether h grows in five equal stages over the first half of training, as in the notebook's first epochs.
        squared: whether the norm is squared, as in the paper.
        start: method whose trained weights training starts from, or ``scratch``.
        softplus: see ``Activated``.
    """

    lam: float = 1.0
    h: float = 0.6
    ramp: bool = True
    squared: bool = False
    start: str = "natural"

    card: ClassVar[Card] = Card(
        title="Robustness via Curvature Regularization, and Vice Versa",
        authors="Moosavi-Dezfooli et al.",
        year=2019,
        arxiv="1811.09716",
        equation="L = CE(f(x), y) + lam mean ||grad CE(x + z) - grad CE(x)||_2, z = h sign(g) / ||sign(g)||_2",
        note="The notebook's h is 3 in units of CIFAR-10's standard deviation, about 0.6 in pixels. The official code "
        "differentiates a batch mean summed B times, that is each image's own loss, which is what is done here.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")
        above_zero(self, "h")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=3, backward=5, double_backward=2)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """See ``Method.losses``: the loss with the step of this stage of the training."""
        stage = min(int(2 * batch.progress * len(RAMP)), len(RAMP) - 1)
        this_stage = dataclasses.replace(self, h=RAMP[stage] * self.h) if self.ramp else self
        yield this_stage.loss(model, batch.x, batch.y, batch.generator)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus the penalty; a scalar."""
        with evaluating(model):
            penalty = self.penalty(model, x, y)
        return F.cross_entropy(model(x), y) + self.lam * penalty

    def penalty(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Mean l2 norm of the change of the gradient, or mean of its square; a scalar."""
        x = differentiable(x)
        before = loss_gradient(model(x), x, y, create_graph=True)
        z = self.direction(before)
        moved = differentiable(x + z)
        after = loss_gradient(model(moved), moved, y, create_graph=True)
        change = ((after - before) * input_scale(model)).flatten(1)
        return (change.square().sum(dim=1) if self.squared else change.norm(dim=1)).mean()

    def direction(self, gradient: Tensor) -> Tensor:
        """``z``, B×C×H×W: a step of length h along the sign of the gradient; 0 where that is 0."""
        sign = gradient.detach().sign()
        return self.h * sign / per_image(sign.flatten(1).norm(dim=1).clamp_min(1e-12))
