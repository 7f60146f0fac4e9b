"""The inner maximisation that adversarial training methods share: projected steps uphill inside a ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attrobust.types import ThreatModel
from methods.activation import Activated


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
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step:g} must be above 0")

    @property
    def ball(self) -> ThreatModel:
        """What the inner maximisation may do to an image."""
        return ThreatModel(norm=self.norm, eps=self.eps)

    def scattered(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random points of the ball, from numbers uniform on [-1, 1]; B×C×H×W."""
        return self.ball.scatter(x, 2 * uniform(x, generator) - 1)

    def ascend(self, x: Tensor, start: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Where ``steps`` projected steps of steepest ascent lead to, cut off from its graph; B×C×H×W.

        Args:
            x: centres of the balls.
            start: where to begin.
            objective: from images to a scalar, a sum over images.
        """
        size = 2.5 * self.eps / self.steps if self.step is None else self.step
        current = start.detach()
        for _ in range(self.steps):
            current.requires_grad_()
            (gradient,) = torch.autograd.grad(objective(current), current)
            # To the pixel box first: inside it, shrinking to the ball cannot leave it again.
            moved = (current.detach() + size * self.ball.direction(gradient)).clamp(0, 1)
            current = self.ball.project(x, moved)
        return current


def uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers uniform on [0, 1), shaped and typed like ``x``."""
    return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def gaussian(x: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from N(0, 1), shaped and typed like ``x``."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
