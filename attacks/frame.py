"""Drawing a frame around the image: the adversarial attribution manipulation of AGA (Joo et al., AAAI 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks import register
from attacks.base import Context
from attacks.descent import GradientAttack
from attacks.feasible import BestLegal, Objective


@register("frame")
@dataclass(frozen=True, kw_only=True)
class Frame(GradientAttack):
    """A map that is 1 on the border and 0 inside: ``min γ ||S(x') - T||² + (1 - γ) MSE(f(x'), f(x))`` by Adam.

    S is divided by its maximum. By default every image keeps its best legal iterate in the ball and the pixel box.
    ``variant=paper`` behaves as the official code: it returns the last iterate, whatever is predicted for it; it clamps
    to the smallest and largest value of the whole batch, so that an image's result depends on its batch; and its loss
    divides by the batch size. The harness still checks what comes out, so a changed prediction counts as no attack
    unless the threat model allows it. The official eps, ``5 eps / 255`` in normalised units, is about ``eps / 255`` in
    pixels for CIFAR-10 but 1.12 to 1.15 times that for ImageNet; here it is the threat model's, in pixels.

    Attributes:
        width: of the frame in pixels; the paper draws 5 on 32×32 and 35 on 224×224 images.
        gamma: weight of the map against the logits.
        variant: ``corrected``, or ``paper`` for the official behaviour.
        steps, view, beta: see ``GradientAttack``; the paper takes 100 steps and a softplus of 20 for ReLU networks.
    """

    steps: int = 100
    beta: float | None = 20.0
    pool: float | None = 0.0
    growth: float = 1.0
    width: int = 5
    gamma: float = 0.5
    variant: Literal["corrected", "paper"] = "corrected"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width={self.width} must be at least 1 pixel")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma:g} must be above 0 and at most 1")

    @property
    def batch_dependent(self) -> bool:
        """True of the official behaviour."""
        return self.variant == "paper"

    def check_size(self, height: int, width: int) -> None:
        """A frame must leave an inside."""
        if 2 * self.width >= min(height, width):
            raise ValueError(f"width={self.width} leaves nothing inside the frame of a {height}×{width} map")

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Squared distance to the frame."""
        goal = frame(x.shape[-2], x.shape[-1], self.width).to(x)
        return lambda maps: (max_normalized(maps) - goal).square().sum(dim=(1, 2))

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """See ``Attack.run``."""
        distance = self.objective(context, x, y)
        with torch.no_grad():
            logits = context.model(x)
        share = len(x) if self.variant == "paper" else 1

        def loss(maps: Tensor, view_logits: Tensor) -> Tensor:
            penalty: Tensor = (view_logits - logits).square().mean(dim=1)
            return (self.gamma * distance(maps) + (1 - self.gamma) * penalty) / share

        moving = x.clone()
        optimizer = torch.optim.Adam([moving], lr=4 * context.threat.eps / self.steps)
        project = self._projection(context, x)

        def update(current: Tensor, gradient: Tensor, _iteration: int) -> Tensor:
            moving.copy_(current)
            moving.grad = gradient
            optimizer.step()
            return project(moving).clone()

        best = BestLegal(context, x, y, distance)
        current = x
        for current, maps, scored_logits in self.iterates(context, x, y, loss, update):
            if self.variant == "corrected":
                best.offer(current, maps, scored_logits)
        return best.x if self.variant == "corrected" else current

    def _projection(self, context: Context, x: Tensor) -> Callable[[Tensor], Tensor]:
        if self.variant == "corrected":
            return lambda candidate: context.threat.project(x, candidate)
        eps, low, high = context.threat.eps, x.min(), x.max()
        return lambda candidate: (x + (candidate - x).clamp(-eps, eps)).clamp(low, high)


def frame(height: int, width: int, border: int) -> Tensor:
    """Ones on the outermost ``border`` pixels, zeros inside; height×width."""
    target = torch.ones(height, width)
    target[border : height - border, border : width - border] = 0
    return target


def max_normalized(maps: Tensor) -> Tensor:
    """``S / (max S + 1e-8)`` per image, B×H×W: the AGA code's "standard" normalisation."""
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-8)
