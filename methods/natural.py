"""Plain training, the baseline of all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.base import Method
from attrobust.types import Card, Cost


@register("natural")
@dataclass(frozen=True, kw_only=True)
class Natural(Method):
    """Cross-entropy on clean images, with the network's own activations (ReLU)."""

    card: ClassVar[Card] = Card(title="Cross-entropy training", equation="L = CE(f(x), y)")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=1, backward=1)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Mean cross-entropy of the batch; a scalar."""
        return F.cross_entropy(model(x), y)
