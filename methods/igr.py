"""Penalty on the angle between clean and attacked integrated gradients: IGR (Wang and Kong, NeurIPS 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.adversarial import Adversarial, AdversarialLoss
from attrobust.methods.losses.integrated import path_of
from attrobust.methods.mart import Mart
from attrobust.methods.pgd_at import PgdAt
from attrobust.methods.trades import Trades
from attrobust.naming.checks import at_least, not_negative
from attrobust.networks.state import evaluating
from attrobust.types import Card, Cost

HOSTS: dict[str, type[AdversarialLoss]] = {"at": PgdAt, "trades": Trades, "mart": Mart}


@register("igr")
@dataclass(frozen=True, kw_only=True)
class Igr(Adversarial):
    """An adversarial training method, plus ``1 − cos`` between the integrated gradients of x and of its adversarial x'.

    Integrated gradients are of the true class's logit from a black image, signed, over all channels and pixels, with
    the network in evaluation mode; x' is that of the host method and a constant of the loss.

    Attributes:
        host: ``at`` (the method ``pgd-at``), ``trades`` or ``mart``.
        lam: weight of ``1 − cos``.
        points: of the path.
        beta: the host's; ``none`` means its default.
        eps, norm, steps, step, softplus: the host's; see ``Adversarial``.
    """

    host: Literal["at", "trades", "mart"] = "trades"
    lam: float = 1.0
    points: int = 8
    beta: float | None = None

    card: ClassVar[Card] = Card(
        title="Exploiting the Relationship Between Kendall's Rank Correlation and Cosine Similarity for Attribution "
        "Protection",
        authors="Wang and Kong",
        year=2022,
        arxiv="2205.07279",
        equation="L = L_host(x, x', y) + lam (1 - cos(IG(x), IG(x')))",
        note="The paper states neither lam nor the steps of training; lam = 1 and 7 steps are those of a replication. "
        "No official code is known.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")
        at_least(1, self, "points")
        if self.host == "at" and self.beta is not None:
            raise ValueError("beta is for host=trades and host=mart")
        _ = self._trainer  # Raises ValueError for invalid settings of the host.

    @property
    def batch_statistics(self) -> int:
        """See ``Method.batch_statistics``: the host's."""
        return self._trainer.batch_statistics

    @property
    def _trainer(self) -> AdversarialLoss:
        settings: dict[str, Any] = {"eps": self.eps, "norm": self.norm, "steps": self.steps, "step": self.step}
        if self.beta is not None:
            settings["beta"] = self.beta
        return HOSTS[self.host](**settings)

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        maps = 2 * self.points
        return self._trainer.cost(classes) + Cost(forward=maps, backward=2 * maps, double_backward=maps)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The host's loss plus lam times the mean of ``1 − cos``; a scalar."""
        host, explain = self._trainer, path_of("ig", self.points)
        moved = host.adversarial(model, x, y, generator)
        with evaluating(model):
            clean, attacked = (explain(model, images, y).flatten(1) for images in (x, moved))
        distance = (1 - F.cosine_similarity(clean, attacked, dim=1, eps=1e-12)).mean()
        return host.loss_at(model, x, moved, y) + self.lam * distance
