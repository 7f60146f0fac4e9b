"""The contract of a training method: settings in, losses out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.types import Card, Cost

SCRATCH = "scratch"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the training loop offers a method at every batch.

    Attributes:
        x: images, B×C×H×W in [0, 1].
        y: true classes, int64[B].
        generator: the source of every random number; on the device of ``x``.
        progress: share of the training that is done, in [0, 1).
        start: the network that training started from, frozen, in evaluation mode; None where it started from scratch.
        gaze: where people look, B×H×W in [0, 1], moved along with the images; None where the dataset has no such maps.
    """

    x: Tensor
    y: Tensor
    generator: torch.Generator
    progress: float = 0.0
    start: nn.Module | None = None
    gaze: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """How a model is trained. Subclasses are frozen dataclasses whose fields are the hyper-parameters.

    Every eps is in pixel units ([0, 1] images). The training loop knows nothing about methods: it calls ``prepare``
    once and ``losses`` on every batch, which by default is ``loss``.

    Attributes:
        card: where the method comes from.
    """

    card: ClassVar[Card] = Card()

    @property
    def batch_statistics(self) -> int:
        """How often one step updates the running statistics of batch normalisation: its passes in training mode."""
        return 1

    @property
    def start(self) -> str:
        """Name of the method whose trained weights this one goes on from, or ``scratch``."""
        return SCRATCH

    @property
    def idle(self) -> frozenset[str]:
        """Settings that change nothing beside the others as they are; typing one of them is a mistake."""
        return frozenset()

    def cost(self, classes: int) -> Cost | None:
        """Passes of the batch through the network that one step takes; None where nobody has said.

        Args:
            classes: of the network.
        """
        return None

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:  # noqa: B027
        """Raise ValueError where the settings make no sense for these images; called before anything is trained.

        Args:
            channels, size, classes: of the images; H = W = size.
            gaze: whether the dataset says where people look.
        """

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network this method trains, e.g. with other activations; called before weights are made or loaded."""
        return model

    def decays(self, name: str) -> bool:
        """Whether the recipe's weight decay acts on the parameter of this name."""
        return True

    @abstractmethod
    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar to minimise on one batch.

        Args:
            model: in training mode, on the device of ``x``.
            x: images, B×C×H×W in [0, 1].
            y: true classes, int64[B].
            generator: the source of every random number the loss draws; on the device of ``x``.
        """

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """The scalars to minimise on one batch, one after the other: the optimiser steps after each of them.

        Args:
            model: in training mode.
            batch: images, and what else the loop knows.
        """
        yield self.loss(model, batch.x, batch.y, batch.generator)
