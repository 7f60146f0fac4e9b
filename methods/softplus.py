"""Softplus activations with plain training, to separate the effect of activations from that of losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from attrobust.methods import register
from attrobust.methods.natural import Natural
from attrobust.naming.checks import above_zero
from attrobust.networks.smoothed import is_smooth, softplus_model
from attrobust.types import Card


@register("softplus")
@dataclass(frozen=True, kw_only=True)
class Softplus(Natural):
    """Cross-entropy on clean images, with softplus in place of every ReLU.

    Attributes:
        beta: inverse temperature, ``log(1 + exp(beta z)) / beta``; the AGA paper trains every network with 3.
    """

    beta: float = 3.0

    card: ClassVar[Card] = Card(
        title="Explanations can be manipulated and geometry is to blame",
        authors="Dombrowski et al.",
        year=2019,
        arxiv="1906.07983",
        equation="relu(z) -> log(1 + exp(beta z)) / beta",
    )

    def __post_init__(self) -> None:
        above_zero(self, "beta")

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with softplus activations; a smooth network is returned as it is."""
        return model if is_smooth(model) else softplus_model(model, self.beta)
