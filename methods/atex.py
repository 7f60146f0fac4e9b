"""Distillation along and across the gradient, without second derivatives: ATEX (Tang et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.base import SCRATCH, Batch
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.draws import gaussian, uniform
from attrobust.methods.losses.gradients import differentiable, per_image
from attrobust.naming.checks import above_zero, at_least
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost


@register("atex")
@dataclass(frozen=True, kw_only=True)
class Atex(Activated):
    """Distillation of a trained network into a copy that is insensitive to noise perpendicular to its gradient.

    ḡ is the SmoothGrad of the true class's logit of the network in training. Points ``x_t = x + s_t reach ḡ/max|ḡ|``
    lie along it. Noise perpendicular to ḡ (in every channel) is added to copies of x_t, and the network learns to give
    for them the original's probabilities at x_t, softened by a temperature. Each step uses one point; every point is
    used twice.

    ``variant=paper`` clamps SmoothGrad's noisy images to [0, 255] as the official code does, although its images are in
    [0, 1], and leaves the network in training mode for SmoothGrad. The clamp turns ḡ by 0.8 degrees in the mean on
    digits/natural, 0.6 on digits/softplus. In both variants x_t and its copies may lie outside the pixel box, as in the
    official code.

    Attributes:
        eps: standard deviation of SmoothGrad's noise in pixels; the code's command line has 0.02.
        reach: largest step along and across ḡ in pixels; ``none`` means 4 eps.
        points: number of s_t, which run from −points / (2 (points − 1)) in steps of 1 / (points − 1).
        copies: noisy copies of every image at every point.
        draws: of SmoothGrad.
        temperature: of the original's probabilities.
        start: method whose trained weights are the original network and the initial weights.
        variant: ``corrected``, or ``paper`` for the official behaviour.
        softplus: see ``Activated``.
    """

    eps: float = 0.08
    reach: float | None = None
    points: int = 2
    copies: int = 8
    draws: int = 10
    temperature: float = 4.0
    start: str = "natural"
    variant: Literal["corrected", "paper"] = "corrected"

    card: ClassVar[Card] = Card(
        title="Defense Against Explanation Manipulation",
        authors="Tang et al.",
        year=2021,
        arxiv="2111.04303",
        equation="L = KL(softmax(f_0(x_t) / T) || softmax(f(x_t + n))), n perpendicular to the SmoothGrad of f_y",
        note="eps 0.08 and 2 points are those of the official experiment2.py; main.py has 0.02 and 11. The official KL "
        "is a mean over images and classes; so is this one. It fine-tunes 2 epochs with Adam at 1.5e-3.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eps <= 1:
            raise ValueError(f"eps={self.eps:g} must be between 0 and 1 in pixel units (write 4/255, not 4)")
        above_zero(self, "reach", "temperature")
        at_least(2, self, "points")
        at_least(1, self, "copies", "draws")
        if self.start == SCRATCH:
            raise ValueError("start=scratch leaves nothing to learn from; name a trained method, e.g. start=natural")

    @property
    def batch_statistics(self) -> int:
        """See ``Method.batch_statistics``: one pass of every step; with ``variant=paper`` also those of SmoothGrad."""
        return 2 * self.points + (self.draws if self.variant == "paper" else 0)

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``: of one batch, which takes ``2 points`` steps."""
        steps = 2 * self.points
        return Cost(forward=self.draws + steps * (1 + self.copies), backward=self.draws + steps * self.copies)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """See ``Method.losses``; needs the network that training started from."""
        if batch.start is None:
            raise ValueError("atex learns from the network it starts from; give it one")
        direction = self.smoothgrad(model, batch.x, batch.y, batch.generator)
        reach = 4 * self.eps if self.reach is None else self.reach
        along = reach * direction / per_image(direction.flatten(1).abs().amax(dim=1) + 1e-6)
        for _ in range(2):
            for point in range(self.points):
                x = batch.x + (point - self.points / 2) / (self.points - 1) * along
                with torch.no_grad():
                    target = (batch.start(x) / self.temperature).log_softmax(dim=1).repeat(self.copies, 1)
                noisy = x.repeat(self.copies, 1, 1, 1)
                noisy = noisy + _across(direction.repeat(self.copies, 1, 1, 1), reach, batch.generator)
                yield F.kl_div(model(noisy).log_softmax(dim=1), target, reduction="none", log_target=True).mean()

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The first of ``losses``, with the network itself as the original; a scalar."""
        with evaluating(model):
            return next(self.losses(model, Batch(x=x, y=y, generator=generator, start=model)))

    def smoothgrad(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """ḡ: the true logit's gradient, averaged over noisy copies, in pixel units, B×C×H×W."""
        highest = 255.0 if self.variant == "paper" else 1.0
        total = torch.zeros_like(x)
        with nullcontext() if self.variant == "paper" else evaluating(model):
            for _ in range(self.draws):
                noisy = differentiable((x + self.eps * gaussian(x, generator)).clamp(0, highest))
                total += torch.autograd.grad(model(noisy).gather(1, y[:, None]).sum(), noisy)[0]
        return total / self.draws


def _across(direction: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Uniform noise within ``reach``, minus its component along the direction in every channel, N×C×H×W."""
    noise = reach * (2 * uniform(direction, generator) - 1)
    unit = F.normalize(direction.flatten(2), dim=2).reshape(direction.shape)
    return noise - (noise * unit).sum(dim=(2, 3), keepdim=True) * unit
