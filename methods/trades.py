"""Cross-entropy with a divergence over the ball: TRADES (Zhang et al., ICML 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.adversarial import Divergent, beside
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost


@register("trades")
@dataclass(frozen=True, kw_only=True)
class Trades(Divergent):
    """Cross-entropy at x plus the largest KL divergence between the predictions for x and for a point of the ball.

    The inner steps raise ``KL(p(x) || p(x'))`` with the network in evaluation mode, from a little noise around x. In
    the loss p(x) is not detached.

    Attributes:
        beta: weight of the divergence.
        eps, norm, steps, step: see ``Adversarial``; the official steps are 0.007 for linf 0.031, and 2 eps / steps for
            l2.
        softplus: see ``Activated``.
    """

    card: ClassVar[Card] = Card(
        title="Theoretically Principled Trade-off between Robustness and Accuracy",
        authors="Zhang et al.",
        year=2019,
        arxiv="1901.08573",
        equation="L = CE(f(x), y) + beta max KL(p(x) || p(x')) over the ball",
        settings={"cifar10": {"eps": "0.031", "step": "0.007"}},
        note="The official l2 form draws its noise twice and uses the second draw; here it is drawn once.",
    )

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=self.steps + 3, backward=self.steps + 2)

    def loss_at(self, model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy plus beta times the mean divergence; a scalar."""
        logits = model(x)
        return F.cross_entropy(logits, y) + self.beta * divergence(model(adversarial), logits) / len(x)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """See ``AdversarialLoss.adversarial``."""
        with evaluating(model):
            with torch.no_grad():
                clean = model(x)
            return self.ascend(x, beside(x, generator), lambda current: divergence(model(current), clean))


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """``Σ KL(softmax(reference) || softmax(logits))`` over the batch; a scalar."""
    return F.kl_div(logits.log_softmax(dim=1), reference.log_softmax(dim=1), reduction="sum", log_target=True)
