"""Optimised masks that preserve the prediction: RelEx, Lim, Lee and Kim, CVPR 2021."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.noise import normal_draws
from attrobust.networks.smoothed import input_mean, input_scale

START = 0.01
"""The first mask is uniform between 0 and this."""
RATE = 0.1
MOMENTUM = 0.99
FLOOR = 1e-7
"""Added to the probability of all other classes before its logarithm is taken."""

Losses = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]
"""``losses`` with its keyword arguments bound."""


@register("relex")
@dataclass(frozen=True, kw_only=True)
class RelEx(Explainer):
    """Optimised mask: masked noisy copies keep their class, and lose it under the complement (arXiv 2103.14332).

    ``min_m mean_b[ -log p_c(z_b ⊙ m) - lam2 log(1 - p_c(z_b ⊙ (1 - m)) + 1e-7) ] + lam1 ‖m‖₁`` over
    ``m ∈ [0, 1]^{C×H×W}``, where z_b is the normalised image plus noise of ``stdev`` times its range, drawn anew in
    every step; p is the softmax. A masked pixel is 0 in normalised units, the mean colour of its channel. The mask
    starts uniform on [0, 0.01] and is optimised by descent with the gradient scaled to l2 norm 1, rate 0.1 and momentum
    0.99. The mask is the map and never negative. Images of a batch share their draws, so that a map does not depend on
    the other images.

    The paper's text could not be obtained; this is the published code's algorithm, whose numbers the tests reproduce.
    It takes samples=50, five thousand passes for an image. Five copies give nearly the same map: on digits, a map of 50
    has rank correlation 0.90 with one of 50 other draws, a map of 5 has 0.86.

    With ``create_graph=True`` only the last ``unroll`` steps are differentiated; the mask before them is a constant.
    The derivative is exact where ``unroll`` is at least ``steps``; the map itself does not depend on ``unroll``.

    Attributes:
        steps: of the descent.
        samples: noisy copies in each step.
        stdev: of the noise, as a share of the largest minus the smallest normalised value of the image.
        lam1: weight of the mask's l1 norm.
        lam2: weight of the loss under the complement of the mask.
        unroll: steps that are differentiated where a graph is wanted.
    """

    steps: int = 50
    samples: int = 5
    stdev: float = 0.1
    lam1: float = 1e-4
    lam2: float = 1.0
    unroll: int = 5
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("steps", "samples", "unroll"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("stdev", "lam1", "lam2"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name):g} must not be negative")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, between 0 and 1; no units."""
        size = x.shape[1:]
        mask = START * torch.rand(size, generator=generator, dtype=torch.float64).to(x).expand_as(x)
        draws = (normal_draws(x, self.samples, generator) for _ in range(self.steps))
        loss = partial(losses, stdev=self.stdev, lam1=self.lam1, lam2=self.lam2)
        constant_steps = max(0, self.steps - self.unroll) if create_graph else self.steps
        first_draws = itertools.islice(draws, constant_steps)
        state = mask, torch.zeros_like(x)
        state = descend(loss, model, x.detach(), target, *state, first_draws, create_graph=False)
        mask, _ = descend(loss, model, x, target, *state, draws, create_graph=True)
        return mask


def losses(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    mask: Tensor,
    draws: Tensor,
    *,
    stdev: float,
    lam1: float,
    lam2: float,
) -> Tensor:
    """The loss of a mask at every noisy copy; its mean over the copies is the objective.

    Args:
        model, x, target: as for an explainer.
        mask: B×C×H×W.
        draws: standard normal, n×C×H×W, the same for every image.
        stdev, lam1, lam2: see ``RelEx``.

    Returns:
        Tensor B×n; ``lam1 ‖m‖₁`` is part of every copy's loss.
    """
    # Masking acts on pixels minus the mean colour, which equals masking in normalised units, where that colour is 0.
    mean, scale = input_mean(model), input_scale(model)
    normalised = (x - mean) / scale
    spread = normalised.amax(dim=(1, 2, 3)) - normalised.amin(dim=(1, 2, 3))
    copies = (x - mean)[:, None] + (stdev * spread).view(-1, 1, 1, 1, 1) * scale * draws
    inside, outside = copies * mask[:, None], copies * (1 - mask)[:, None]
    logits = model((torch.stack([inside, outside]) + mean).flatten(0, 2)).view(2, *copies.shape[:2], -1)
    classes = target.view(-1, 1, 1).expand(-1, copies.shape[1], 1)
    log_inside = logits[0].log_softmax(dim=-1).gather(-1, classes).squeeze(-1)
    # Summed over the other classes: 1 - p cancels in float32 where p is close to 1.
    others_outside = logits[1].softmax(dim=-1).scatter(-1, classes, 0.0).sum(dim=-1)
    size = mask.abs().sum(dim=(1, 2, 3))[:, None]
    loss: Tensor = -log_inside - lam2 * (others_outside + FLOOR).log() + lam1 * size
    return loss


def unit_gradient(
    loss: Losses, model: nn.Module, x: Tensor, target: Tensor, mask: Tensor, draws: Tensor, *, create_graph: bool
) -> Tensor:
    """Gradient of the objective with respect to the mask, each image's scaled to l2 norm 1; zero stays zero.

    Args:
        loss: ``losses`` with its keyword arguments bound.
        model, x, target, mask, draws: its arguments.
        create_graph: whether the result must be differentiable with respect to ``x`` and the mask.
    """

    def part(pairs: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
        images, masks = pairs.chunk(2, dim=1)
        attached = masks if graph else masks.detach().requires_grad_()
        total = loss(model, images, target[rows], attached, draws[span]).sum()
        (gradient,) = torch.autograd.grad(total, attached, create_graph=graph)
        return gradient / len(draws)

    pairs = torch.cat([x, mask], dim=1)
    gradient = accumulate(part, _Pairs(model), pairs, len(draws), create_graph=create_graph)
    # Divided by its largest entry first, so that squares do not underflow in float32.
    largest = gradient.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1.0)
    length: Tensor = scaled.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    # The length is at least 1, or 0.
    return scaled / length.clamp_min(0.5)


def descend(
    loss: Losses,
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    mask: Tensor,
    velocity: Tensor,
    draws: Iterable[Tensor],
    *,
    create_graph: bool,
) -> tuple[Tensor, Tensor]:
    """Descent on the mask, a step for each element of ``draws``: ``v ← 0.99 v + g``, ``m ← clip(m - 0.1 v, 0, 1)``.

    Args:
        loss: ``losses`` with its keyword arguments bound.
        model, x, target: as for an explainer.
        mask, velocity: to start from, B×C×H×W; the first velocity is 0.
        draws: of every step, see ``losses``.
        create_graph: whether the result must be differentiable with respect to ``x``.

    Returns:
        The mask and the velocity after the last step.
    """
    for noise in draws:
        gradient = unit_gradient(loss, model, x, target, mask, noise, create_graph=create_graph)
        velocity = MOMENTUM * velocity + gradient
        mask = (mask - RATE * velocity).clamp(0.0, 1.0)
    return mask, velocity


class _Pairs(nn.Module):
    """The network as a function of image and mask stacked along the channels, each of which becomes two masked images.

    ``accumulate`` cuts one tensor along its batch and differentiates with respect to it, so both must be in it; and it
    measures memory by a forward pass of this module.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits of ``x ⊙ m`` and then of ``x ⊙ (1 - m)``; by ``forward``, so that the pass is not counted."""
        images, masks = pairs.chunk(2, dim=1)
        logits: Tensor = self.network.forward(torch.cat([images * masks, images * (1 - masks)]))
        return logits
