"""Penalty on integrated gradients from an image to its neighbours: IG-NORM (Chen et al., NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.adversarial import Adversarial
from attrobust.methods.losses.integrated import Path, cross_entropies
from attrobust.naming.checks import at_least, not_negative
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost


@register("ig-norm")
@dataclass(frozen=True, kw_only=True)
class IgNorm(Adversarial):
    """Cross-entropy at the clean image plus the largest l1 norm of the loss's integrated gradients over the ball.

    The path leads from the image x to a neighbour x' that maximises the same norm, with fewer points, by projected
    steps; x' is a constant of the loss. The loss is the paper's divided by B: a mean over images and not a sum over the
    batch. Integrated gradients are taken with the network in evaluation mode.

    Attributes:
        lam: weight of the norm; the paper has 1 and, for Flower17, 0.1.
        points: of the path in the loss.
        attack_points: of the path in the inner steps.
        eps, norm, steps, step: see ``Adversarial``.
        softplus: see ``Activated``.
    """

    lam: float = 1.0
    points: int = 50
    attack_points: int = 5

    card: ClassVar[Card] = Card(
        title="Robust Attribution Regularization",
        authors="Chen et al.",
        year=2019,
        arxiv="1905.09957",
        equation="L = CE(f(x), y) + lam max ||IG_CE(x -> x')||_1 over the ball",
        note="GTSRB and Flower17: eps 8/255, 7 steps of 2/255 (ours are 2.5 eps / steps), 50 points, 5 in the attack. "
        "MNIST: eps 0.3, 40 steps of 0.01, 50 and 10 points. The official code is TensorFlow and ran on other networks "
        "than ours. All points of a path are in memory at once: of lenet 1 MB each, of resnet18 9 MB, per image.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")
        at_least(1, self, "points", "attack_points")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        evaluations = self.steps * self.attack_points + self.points
        return Cost(forward=evaluations + 1, backward=2 * evaluations + 1, double_backward=evaluations)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus lam times the mean norm; a scalar."""
        with evaluating(model):
            moved = self.ascend(x, self.scattered(x, generator), lambda current: self._gain(model, x, current, y))
            size = path_norms(model, x, moved, y, self.points).mean()
        return F.cross_entropy(model(self._images_of_loss(x, moved)), y) + self.lam * size

    def _gain(self, model: nn.Module, x: Tensor, moved: Tensor, y: Tensor) -> Tensor:
        return path_norms(model, x, moved, y, self.attack_points).sum()

    def _images_of_loss(self, x: Tensor, moved: Tensor) -> Tensor:
        """The images whose cross-entropy is part of the loss."""
        return x


def path_norms(model: nn.Module, x: Tensor, moved: Tensor, y: Tensor, points: int) -> Tensor:
    """``||IG_CE(x → moved)||₁`` of every image, B."""
    norms: Tensor = Path(cross_entropies, points)(model, x, moved, y).flatten(1).abs().sum(dim=1)
    return norms
