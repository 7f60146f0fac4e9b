"""The inner maximisation of adversarial training methods: projected steps of steepest ascent in a ball."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.draws import gaussian, uniform
from attrobust.naming.checks import above_zero, at_least, not_negative
from attrobust.threat import ThreatModel
from attrobust.types import Cost


@dataclass(frozen=True, kw_only=True)
class Adversarial(Activated):
    """Settings of an inner maximisation.

    Attributes:
        eps: radius of the ball in pixels.
        norm: ``linf`` or ``l2``.
        steps: number of inner steps.
        step: size of one, in pixels; ``none`` means 2.5 eps / steps.
    """

    eps: float = 8 / 255
    norm: Literal["linf", "l2"] = "linf"
    steps: int = 7
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.ball
        at_least(1, self, "steps")
        above_zero(self, "step")

    @property
    def ball(self) -> ThreatModel:
        """The ball and pixel box of the inner maximisation."""
        return ThreatModel(norm=self.norm, eps=self.eps)

    def check_reach(self) -> None:
        """Raise ValueError where ``steps`` times ``step`` is below 0.9 eps: from the centre the edge is out of reach.

        A tenth less than eps is allowed, as the official function of TRADES takes 10 steps of 0.003 for 0.031.
        """
        if self.step is not None and self.steps * self.step < 0.9 * self.eps:
            raise ValueError(f"steps={self.steps} of step={self.step:g} do not reach eps={self.eps:g}; use step=none")

    def scattered(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random points of the ball, B×C×H×W; see ``ThreatModel.scatter``."""
        return self.ball.scatter(x, 2 * uniform(x, generator) - 1)

    def ascend(self, x: Tensor, start: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """The images after ``steps`` projected steps of steepest ascent, detached, B×C×H×W.

        Args:
            x: centres of the balls.
            start: first points, B×C×H×W.
            objective: from images to a scalar, a sum over images.
        """
        size = 2.5 * self.eps / self.steps if self.step is None else self.step
        current = start.detach()
        for _ in range(self.steps):
            current.requires_grad_()
            (gradient,) = torch.autograd.grad(objective(current), current)
            # Clamped to the pixel box first: projecting onto the ball moves points towards x and stays inside the box.
            moved = (current.detach() + size * self.ball.direction(gradient)).clamp(0, 1)
            current = self.ball.project(x, moved)
        return current


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss(Adversarial):
    """A method whose loss is a function of clean and adversarial images, which other methods can extend."""

    @abstractmethod
    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """See ``Method.loss``."""
        return self.loss_at(model, x, self.adversarial(model, x, y, generator), y)

    @abstractmethod
    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The adversarial images of ``x``, B×C×H×W."""

    @abstractmethod
    def loss_at(self, model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """The loss with given adversarial images; a scalar."""


@dataclass(frozen=True, kw_only=True)
class Divergent(AdversarialLoss):
    """A loss with a divergence between the predictions of clean and adversarial images (TRADES, MART).

    Attributes:
        beta: weight of the divergence.
        steps: number of inner steps.
    """

    steps: int = 10
    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "beta")
        self.check_reach()

    @property
    def batch_statistics(self) -> int:
        """See ``Method.batch_statistics``: one pass of the clean images and one of the adversarial ones."""
        return 2


def beside(x: Tensor, generator: torch.Generator) -> Tensor:
    """First points of TRADES and MART: ``x`` plus Gaussian noise of standard deviation 0.001 pixels, B×C×H×W."""
    return x + 0.001 * gaussian(x, generator)
