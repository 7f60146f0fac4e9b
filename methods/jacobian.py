"""Penalty on the input-output Jacobian, by random projections: Hoffman et al. 2019."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.draws import gaussian
from attrobust.methods.losses.gradients import differentiable
from attrobust.naming.checks import not_negative
from attrobust.networks.smoothed import input_scale
from attrobust.types import Card, Cost


@register("jacobian")
@dataclass(frozen=True, kw_only=True)
class Jacobian(Activated):
    """Penalty on the squared Frobenius norm of the Jacobian of all logits, in normalised input units.

    ``||J||_F² = K E ||v^T J||²`` for v uniform on the unit sphere of K classes.

    Attributes:
        lam: weight of the penalty.
        projections: random directions per image; 0 takes every class in turn, which is exact and costs K passes.
        softplus: see ``Activated``.
    """

    lam: float = 0.01
    projections: int = 1

    card: ClassVar[Card] = Card(
        title="Robust Learning with Jacobian Regularization",
        authors="Hoffman et al.",
        year=2019,
        arxiv="1908.02729",
        equation="L = CE(f(x), y) + lam / 2 mean ||J(x)||_F^2, J = df/dx",
        note="The paper's lam of 0.01 could not be checked. Units are those of the normalised input, as in its code.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")
        if self.projections < 0:
            raise ValueError(f"projections={self.projections} must be a count, or 0 for the exact norm")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        times = self.projections or classes
        return Cost(forward=1, backward=times + 1, double_backward=times)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus the penalty; a scalar."""
        x = differentiable(x)
        logits = model(x)
        return F.cross_entropy(logits, y) + self.lam * self.penalty(model, logits, x, generator)

    def penalty(self, model: nn.Module, logits: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """``½ mean ||J||_F²``, a scalar; see ``losses.gradients.true_logit_gradient`` for the arguments."""
        total = torch.zeros((), dtype=logits.dtype, device=logits.device)
        for direction in self._directions(logits, generator):
            (product,) = torch.autograd.grad(logits, x, direction, create_graph=True, retain_graph=True)
            total = total + (product * input_scale(model)).square().sum() / len(x)
        classes = logits.shape[1]
        return total / 2 * (classes / self.projections if self.projections else 1)

    def _directions(self, logits: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        if not self.projections:
            for row in torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device):
                yield row.expand_as(logits)
        for _ in range(self.projections):
            yield F.normalize(gaussian(logits, generator), dim=1)
