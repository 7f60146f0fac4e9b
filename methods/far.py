"""Correlation of attributions over the ball: FAR, in its forms AAT and AdvAAT (Ivankay et al., BMVC 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.adversarial import Adversarial
from attrobust.methods.losses.integrated import path_of
from attrobust.naming.checks import at_least, not_negative
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost


@register("far")
@dataclass(frozen=True, kw_only=True)
class Far(Adversarial):
    """Cross-entropy plus one minus the smallest Pearson correlation between attributions of x and of x' in the ball.

    Attributions are of the true class's logit, signed, over all channels and pixels, with the network in evaluation
    mode. The logit of a ReLU network has no curvature, so the derivative of its gradient map is zero and
    ``attribution=gradient`` needs ``softplus``; integrated gradients have a derivative through their factor x'.

    Attributes:
        form: ``aat`` takes the cross-entropy at x and the inner steps lower the correlation; ``advaat`` takes it at x',
            and the inner steps raise the whole loss.
        lam: weight of ``1 − correlation``.
        attribution: ``ig`` from a black image, or ``gradient``.
        points: of the path.
        eps, norm, steps, step: see ``Adversarial``.
        softplus: see ``Activated``.
    """

    form: Literal["aat", "advaat"] = "advaat"
    lam: float = 1.0
    attribution: Literal["ig", "gradient"] = "ig"
    points: int = 8

    card: ClassVar[Card] = Card(
        title="FAR: A General Framework for Attributional Robustness",
        authors="Ivankay et al.",
        year=2021,
        arxiv="2010.07393",
        equation="L = CE + lam max (1 - PCC(A(x), A(x'))) over the ball, CE at x (AAT) or x' (AdvAAT)",
        note="No official code is known. The paper's lam, steps, points, attribution and what AdvAAT's inner steps "
        "raise could not be checked: ours.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")
        at_least(1, self, "points")
        if self.attribution == "gradient" and self.softplus is None:
            raise ValueError("attribution=gradient needs softplus=3 or so: a ReLU network's gradient has no derivative")

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Method.without_effect``: a plain gradient has no path."""
        return frozenset() if self.attribution == "ig" else frozenset({"points"})

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        points = self.points if self.attribution == "ig" else 1
        maps, losses = self.steps + 2, 1 + (self.steps if self.form == "advaat" else 0)
        # The map of x is computed once: a constant in the inner steps, with a graph for the loss.
        return Cost(forward=maps * points + losses, backward=2 * maps * points + losses, double_backward=maps * points)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus lam times the mean of ``1 − correlation``; a scalar."""
        explain = path_of(self.attribution, self.points)
        with evaluating(model):
            clean = explain(model, x, y)
            detached = clean.detach()

            def gain(current: Tensor) -> Tensor:
                distance = (1 - correlations(detached, explain(model, current, y))).sum()
                if self.form == "aat":
                    return distance
                return F.cross_entropy(model(current), y, reduction="sum") + self.lam * distance

            moved = self.ascend(x, self.scattered(x, generator), gain)
            distance = (1 - correlations(clean, explain(model, moved, y))).mean()
        return F.cross_entropy(model(x if self.form == "aat" else moved), y) + self.lam * distance


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of the i-th maps of a and b, over all their entries, B; 0 where one is constant."""
    a, b = a.flatten(1), b.flatten(1)
    return F.cosine_similarity(a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True), dim=1, eps=1e-12)
