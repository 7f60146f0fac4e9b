"""Adversarial training against projected gradient descent: Madry et al., ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.adversarial import AdversarialLoss
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost


@register("pgd-at")
@dataclass(frozen=True, kw_only=True)
class PgdAt(AdversarialLoss):
    """Cross-entropy at an adversarial image, found by projected gradient steps in a ball around the clean one.

    The inner steps run with the network in evaluation mode, so only the loss itself updates BatchNorm statistics. Kim
    et al. 2019 (arXiv 1903.11626) train the networks of their study of interpretability with this method, without a
    random start, 40 steps each, on images in [-1, 1], where every eps is twice that in pixels. Their grids, in pixels,
    for ``objective`` ``ce`` and ``cw``, are 0.04 to 0.8 in steps of 0.04 for l2, with ``step=1``, and 0.001 to 0.02 in
    steps of 0.001 for linf, with ``step=0.01``. The first four of each are::

        "pgd-at:norm=l2,steps=40,step=1,random_start=false,eps={0.04,0.08,0.12,0.16}"
        "pgd-at:norm=linf,steps=40,step=0.01,random_start=false,eps={0.001,0.002,0.003,0.004}"

    Attributes:
        eps: radius of the ball in pixels.
        norm: ``linf`` or ``l2``.
        steps: number of inner steps.
        step: size of one, in pixels; ``none`` means 2.5 eps / steps.
        random_start: whether to start from a random point of the ball.
        objective: of the inner maximisation: cross-entropy, or Carlini and Wagner's margin loss,
            ``-max(z_y - max_{c≠y} z_c + confidence, 0)``.
        confidence: of the margin, in logits; Kim et al. use 500.
    """

    random_start: bool = True
    objective: Literal["ce", "cw"] = "ce"
    confidence: float = 500.0

    card: ClassVar[Card] = Card(
        title="Towards Deep Learning Models Resistant to Adversarial Attacks",
        authors="Madry et al.",
        year=2018,
        arxiv="1706.06083",
        equation="L = CE(f(x'), y), x' = argmax over the ball of CE",
        note="For maps: Kim et al. 2019, arXiv 1903.11626, whose eps is in [-1, 1] units, twice the pixel eps.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.random_start:
            self.check_reach()

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Method.without_effect``: only the margin loss has a ``confidence``."""
        return frozenset() if self.objective == "cw" else frozenset({"confidence"})

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=self.steps + 1, backward=self.steps + 1)

    def loss_at(self, model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy at the adversarial images; a scalar."""
        return F.cross_entropy(model(adversarial), y)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """See ``AdversarialLoss.adversarial``."""
        start = self.scattered(x, generator) if self.random_start else x
        with evaluating(model):
            return self.ascend(x, start, lambda current: self._gain(model(current), y))

    def _gain(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.objective == "ce":
            return F.cross_entropy(logits, y, reduction="sum")
        own = logits.gather(1, y[:, None])[:, 0]
        return -(own - runner_up(logits, y) + self.confidence).clamp_min(0).sum()


def runner_up(logits: Tensor, y: Tensor) -> Tensor:
    """The largest logit of the classes other than ``y``, float[B]."""
    largest: Tensor = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    return largest
