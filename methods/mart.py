"""Misclassification-aware adversarial training: MART (Wang et al., ICLR 2020)."""

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


@register("mart")
@dataclass(frozen=True, kw_only=True)
class Mart(Divergent):
    """Boosted cross-entropy at x' plus a divergence weighted by one minus the true class's probability at x.

    The inner steps raise the cross-entropy with the network in evaluation mode, from a little noise around x.

    Attributes:
        beta: weight of the divergence; 5 in the official training script, 6 in its function.
        eps, norm, steps, step: see ``Adversarial``; the official steps are 0.007 for linf 0.031.
        softplus: see ``Activated``.
    """

    beta: float = 5.0

    card: ClassVar[Card] = Card(
        title="Improving Adversarial Robustness Requires Revisiting Misclassified Examples",
        authors="Wang et al.",
        year=2020,
        equation="L = CE(f(x'), y) - log(1 - max_{c != y} p_c(x')) + beta mean KL(p(x) || p(x')) (1 - p_y(x))",
        settings={"cifar10": {"eps": "0.031", "step": "0.007"}},
        note="Published at ICLR 2020, not on arXiv. The official code keeps 1e-4 under the logarithm; so do we.",
    )

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=self.steps + 2, backward=self.steps + 2)

    def loss_at(self, model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Boosted cross-entropy plus beta times the weighted divergence; a scalar."""
        clean, moved = model(x).log_softmax(dim=1), model(adversarial).log_softmax(dim=1)
        others = moved.exp().scatter(1, y[:, None], 0.0)
        boosted: Tensor = F.nll_loss(moved, y) - (1.0001 - others.amax(dim=1)).log().mean()
        divergences = F.kl_div(moved, clean, reduction="none", log_target=True).sum(dim=1)
        weights = 1 - clean.gather(1, y[:, None])[:, 0].exp()
        weighted: Tensor = (divergences * weights).mean()
        return boosted + self.beta * weighted

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """See ``AdversarialLoss.adversarial``."""
        with evaluating(model):
            return self.ascend(
                x, beside(x, generator), lambda current: F.cross_entropy(model(current), y, reduction="sum")
            )
