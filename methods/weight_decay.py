"""Penalty on the weights, which bounds the curvature: Dombrowski et al., Pattern Recognition 2022."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.naming.checks import not_negative
from attrobust.types import Card, Cost


@register("weight-decay")
@dataclass(frozen=True, kw_only=True)
class WeightDecay(Activated):
    """Penalty on the squared norm of the weights of all convolutions, linear and attention layers.

    It is part of the loss, so that it is the same for every optimiser, and it adds to a recipe's own weight decay.

    Attributes:
        lam: weight of the penalty.
        softplus: see ``Activated``.
    """

    lam: float = 5e-4

    card: ClassVar[Card] = Card(
        title="Towards robust explanations for deep neural networks",
        authors="Dombrowski et al.",
        year=2022,
        arxiv="2012.10425",
        equation="L = CE(f(x), y) + lam sum ||w||_2^2",
        note="The paper's weights could not be checked; 5e-4 is the field's usual strength, written there as lam/2.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "lam")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=1, backward=1)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy plus the penalty; a scalar."""
        squares = [weight.square().sum() for weight in _weights(model)]
        return F.cross_entropy(model(x), y) + self.lam * torch.stack(squares).sum()


def _weights(model: nn.Module) -> Iterator[Tensor]:
    """Kernels of convolutions and matrices of linear and attention layers."""
    for module in model.modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            yield module.weight
        elif isinstance(module, nn.MultiheadAttention):
            yield from (value for name, value in module.named_parameters(recurse=False) if name.endswith("weight"))
