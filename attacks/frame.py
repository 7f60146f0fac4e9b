"""A map in the shape of a frame: the adversarial attribution manipulation of AGA (Joo et al., AAAI 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.attacks import register
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adam import adam
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.published.variants import LastIterate, by_variant


@register("frame")
@dataclass(frozen=True, kw_only=True)
class Frame(LastIterate):
    """A map that is 1 on the border and 0 inside: ``min ||S(x') - T||²``, S divided by its maximum (arXiv 2211.15900).

    ``variant=paper`` behaves as the official code: it descends ``γ ||S(x') - T||² + (1 - γ) MSE(f(x'), f(x))`` by Adam
    from the clean image and returns the last iterate, whatever is predicted for it; it clamps to the smallest and
    largest value of the whole batch, so that an image's result depends on its batch; its loss divides by the batch
    size; and of a ReLU network it differentiates a softplus of 20. The official eps, ``5 eps / 255`` in normalised
    units, is about ``eps / 255`` in pixels for CIFAR-10 but 1.12 to 1.15 times that for ImageNet; here it is the threat
    model's, in pixels. By default the logits are free as long as the prediction stays.

    Attributes:
        width: of the frame in pixels; the paper draws 5 on 32×32 and 35 on 224×224 images.
        gamma: weight of the map's term; the logits' term has 1 - gamma.
        steps, beta, pool, growth: see ``GradientAttack``; the paper takes 100 steps.
        variant: ``corrected``, or ``paper`` for the official behaviour.
    """

    steps: int = 100
    beta: float | None = by_variant(corrected=None, paper=20.0)
    pool: float | None = by_variant(corrected=None, paper=0.0)
    growth: float = by_variant(corrected=10.0, paper=1.0)
    width: int = 5
    gamma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width={self.width} must be at least 1 pixel")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma:g} must be above 0 and at most 1")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Published.without_effect``."""
        return super().without_effect | (frozenset({"gamma"}) if self.variant == "corrected" else frozenset())

    @property
    def batch_dependent(self) -> bool:
        """True for ``variant=paper``, which clamps to the range of the whole batch."""
        return self.variant == "paper"

    @property
    def floor(self) -> float:
        """0, where the map is the frame."""
        return 0.0

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where the frame covers the whole map."""
        if 2 * self.width >= min(height, width):
            raise ValueError(f"width={self.width} leaves nothing inside the frame of a {height}×{width} map")

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:  # noqa: ARG002
        """Squared distance to the frame."""
        goal = frame(x.shape[-2], x.shape[-1], self.width).to(x)
        return lambda maps: (max_normalized(maps) - goal).square().sum(dim=(1, 2))

    def trajectory(self, context: Context, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """See ``LastIterate.trajectory``."""
        distance = self.objective(context, x, y)
        with torch.no_grad():
            logits = context.model(x)

        def loss(maps: Tensor, view_logits: Tensor) -> Tensor:
            penalty: Tensor = (view_logits - logits).square().mean(dim=1)
            return (self.gamma * distance(maps) + (1 - self.gamma) * penalty) / len(x)

        eps, low, high = context.threat.eps, x.min(), x.max()
        update = adam(x, 4 * eps / self.steps, lambda moved: (x + (moved - x).clamp(-eps, eps)).clamp(low, high))
        for point, _, _ in self.iterates(context, x, y, loss, update):
            yield point


def frame(height: int, width: int, border: int) -> Tensor:
    """Ones on the outermost ``border`` pixels, zeros inside; height×width."""
    target = torch.ones(height, width)
    target[border : height - border, border : width - border] = 0
    return target


def max_normalized(maps: Tensor) -> Tensor:
    """``S / (max S + 1e-8)`` per image, B×H×W: the AGA code's "standard" normalisation."""
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-8)
