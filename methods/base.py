"""The contract of a training method: settings in, a loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.types import Card


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """How a model is trained. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    Every eps is in pixel units ([0, 1] images). The training loop knows nothing about methods: it calls ``prepare``
    once and ``loss`` on every batch.
    """

    card: ClassVar[Card] = Card()

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network this method trains, e.g. with other activations; called before weights are made or loaded."""
        return model

    @abstractmethod
    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar to minimise on one batch.

        Args:
            model: in training mode, on the device of ``x``.
            x: images, B×C×H×W in [0, 1].
            y: true classes, int64[B].
            generator: the source of every random number the loss draws; on the device of ``x``.
        """
