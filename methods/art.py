"""Alignment of image and gradient: attributional robustness training, ART (Singh et al., ECCV 2020)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.draws import uniform
from attrobust.methods.losses.gradients import differentiable
from attrobust.methods.pgd_at import runner_up
from attrobust.naming.checks import above_zero, at_least, not_negative
from attrobust.networks.smooth_calls import softplus_everywhere
from attrobust.networks.smoothed import input_mean, input_scale
from attrobust.networks.state import evaluating
from attrobust.threat import ThreatModel
from attrobust.types import Amount, Card, Cost


@register("art")
@dataclass(frozen=True, kw_only=True)
class Art(Activated):
    """Cross-entropy at x' plus a triplet loss: the image close to the gradient of its class, far from another class's.

    Distances are ``1 − cos`` over all channels and pixels between the normalised image and the gradients of the logits
    of the true class, g_y, and of the most likely other, g_r, in a smoothed model. With d_p the larger of x's distances
    to g_y at x and at x', and d_n the smaller of those to g_r, the triplet loss is ``mean log(1 + exp(d_p − d_n))``
    over x and, likewise, x'. The inner steps raise ``log(1 + exp(d_p − d_n))`` of x' alone, over the k coordinates in
    which the network's own gradient was largest at the random start.

    Attributes:
        lam: weight of the triplet loss.
        eps: radius of the linf ball in pixels.
        steps: number of inner steps.
        step: size of one in pixels.
        k: coordinates that the inner steps use; the paper has 1000 of 3072.
        beta: one over the temperature of the smoothed model; a network that is smooth already is used as it is.
        variant: ``corrected`` takes the inner steps in evaluation mode; ``paper`` in training mode, as the official
            code: batch normalisation then updates its statistics ``steps + 1`` times more, with attacked images. On
            digits, ``lenet`` of width 8 with one batch normalisation, two seeds, 8 epochs, accuracy differs by at most
            0.7 points (98.7 and 99.3 % corrected, 99.3 and 99.0 % paper).
        softplus: see ``Activated``.
    """

    lam: float = 0.5
    eps: float = 8 / 255
    steps: int = 3
    step: float = 5 / 255
    k: Amount = Amount(32.55, True)
    beta: float = 50.0
    variant: Literal["corrected", "paper"] = "corrected"

    card: ClassVar[Card] = Card(
        title="Attributional Robustness Training using Input-Gradient Spatial Alignment",
        authors="Singh et al.",
        year=2020,
        arxiv="1911.13073",
        equation="L = CE(f(x'), y) + lam mean log(1 + exp(max d(x, g_y) - min d(x, g_r)))",
        note="The paper's eps, 8/255, is in pixels. It trains WRN-28-10 for 101 epochs, with colour jitter.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        ThreatModel(eps=self.eps)
        not_negative(self, "lam")
        at_least(1, self, "steps")
        above_zero(self, "step", "beta")

    @property
    def batch_statistics(self) -> int:
        """See ``Method.batch_statistics``: triplet loss and cross-entropy; with ``variant=paper`` also inner steps."""
        return 2 + (self.steps + 1 if self.variant == "paper" else 0)

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:
        """See ``Method.check_images``."""
        self.k.of(channels * size * size)

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=4 + self.steps, backward=8 + 3 * self.steps, double_backward=4 + 2 * self.steps)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus lam times the triplet loss; a scalar."""
        smoothed = softplus_everywhere(model, x, self.beta)
        moved = self.adversarial(model, smoothed, x, y, generator)
        triplet = self.triplet(smoothed, torch.cat([x, moved]), y.repeat(2))
        return F.cross_entropy(model(moved), y) + self.lam * triplet

    def triplet(self, smoothed: nn.Module, pairs: Tensor, y: Tensor) -> Tensor:
        """The triplet loss; a scalar.

        Args:
            view: the network or its smoothed model, with second derivatives.
            pairs: B images and then their B attacked copies, 2B×C×H×W.
            y: classes, int64[2B].
        """
        pairs = differentiable(pairs)
        own, other = (gradient * input_scale(smoothed) for gradient in _gradients(smoothed, pairs, y))
        images = _normalised(smoothed, pairs.detach())
        # [2, B, D]: copy, image, coordinate; then distances [copy of the image, copy of the gradient, image].
        images, own, other = (values.reshape(2, len(y) // 2, -1) for values in (images, own, other))
        near, far = (1 - F.cosine_similarity(images[:, None], maps[None], dim=3, eps=1e-12) for maps in (own, other))
        triplet: Tensor = F.softplus(near.amax(dim=1) - far.amin(dim=1)).mean()
        return triplet

    def adversarial(
        self, model: nn.Module, smoothed: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Images of the ball that are poorly aligned with their gradients, B×C×H×W."""
        ball = ThreatModel(eps=self.eps)
        with ExitStack() as stack:
            if self.variant == "corrected":
                stack.enter_context(evaluating(model))
                stack.enter_context(evaluating(smoothed))
            current = (x + self.eps * (2 * uniform(x, generator) - 1)).clamp(0, 1)
            start = differentiable(current)
            (gradient,) = torch.autograd.grad(model(start).gather(1, y[:, None]).sum(), start)
            size = gradient.flatten(1)
            top = size.abs().topk(self.k.of(size.shape[1]), dim=1).indices
            for _ in range(self.steps):
                current = differentiable(current)
                own, other = _gradients(smoothed, current, y)
                image = _normalised(smoothed, current)
                at_top = [values.flatten(1).gather(1, top) for values in (image, own, other)]
                near, far = (1 - F.cosine_similarity(at_top[0], maps, dim=1) for maps in at_top[1:])
                (direction,) = torch.autograd.grad(F.softplus(near - far).sum(), current)
                current = ball.project(x, current.detach() + self.step * direction.sign())
        return current


def _gradients(smoothed: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients g_y and g_r in pixel units, with a graph, each B×C×H×W."""
    logits = smoothed(x)
    scores = (logits.gather(1, y[:, None]).sum(), runner_up(logits, y).sum())
    own, other = (torch.autograd.grad(score, x, create_graph=True)[0] for score in scores)
    return own, other


def _normalised(model: nn.Module, x: Tensor) -> Tensor:
    normalised: Tensor = (x - input_mean(model)) / input_scale(model)
    return normalised
