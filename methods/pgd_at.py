"""Adversarial training against projected gradient descent: Madry et al., ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.types import Card, ThreatModel
from methods import register
from methods.base import Method


@register("pgd-at")
@dataclass(frozen=True, kw_only=True)
class PgdAt(Method):
    """Cross-entropy at the worst image that projected gradient steps find in a ball around the clean one.

    The inner steps run with the network in evaluation mode, so BatchNorm statistics are only updated by the loss
    itself.

    Attributes:
        eps: radius of the ball in pixels.
        norm: ``linf`` or ``l2``.
        steps: number of inner steps.
        step: size of one, in pixels; ``none`` means 2.5 eps / steps.
        random_start: whether to start from a random point of the ball.
    """

    eps: float = 8 / 255
    norm: Literal["linf", "l2"] = "linf"
    steps: int = 7
    step: float | None = None
    random_start: bool = True

    card: ClassVar[Card] = Card(
        title="Towards Deep Learning Models Resistant to Adversarial Attacks",
        authors="Madry et al.",
        year=2018,
        arxiv="1706.06083",
        equation="L = CE(f(x'), y), x' = argmax over the ball of CE",
        cost="(steps + 1)(F + B)",
        note="For maps: Kim et al. 2019, arXiv 1903.11626, whose eps is in [-1, 1] units, twice the pixel eps.",
    )

    def __post_init__(self) -> None:
        ThreatModel(norm=self.norm, eps=self.eps)
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step:g} must be above 0")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Mean cross-entropy at the adversarial images; a scalar."""
        was_training = model.training
        model.eval()
        adversarial = self._attack(model, x, y, generator)
        model.train(was_training)
        return F.cross_entropy(model(adversarial), y)

    def _attack(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        ball = ThreatModel(norm=self.norm, eps=self.eps)
        size = 2.5 * self.eps / self.steps if self.step is None else self.step
        current = x.detach()
        if self.random_start:
            draw = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            current = ball.scatter(x, 2 * draw - 1)
        for _ in range(self.steps):
            current.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(current), y, reduction="sum"), current)
            current = ball.project(x, current.detach() + size * ball.direction(gradient))
        return current
