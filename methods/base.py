"""The contract of a training method: a frozen dataclass of settings that computes losses."""

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
    """One batch and the state of training, as the loop passes them to a method.

    Attributes:
        x: images, B×C×H×W in [0, 1].
        y: true classes, int64[B].
        generator: the source of every random number; on the device of ``x``.
        progress: share of the training that is done, in [0, 1).
        start: the network that training started from, frozen, in evaluation mode; None where it started from scratch.
        gaze: maps of where people look, B×H×W in [0, 1], augmented like the images; None where the dataset has none.
    """

    x: Tensor
    y: Tensor
    generator: torch.Generator
    progress: float = 0.0
    start: nn.Module | None = None
    gaze: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A training method: the loss and the changes to the network. Fields of subclasses are its hyper-parameters.

    Subclasses are frozen dataclasses. Every eps is in pixel units ([0, 1] images). The training loop is the same for
    all methods: it calls ``prepare`` once and ``losses`` on every batch, which by default yields ``loss``.

    Attributes:
        card: paper, equation and published settings of the method.
    """

    card: ClassVar[Card] = Card()

    @property
    def batch_statistics(self) -> int:
        """How often one step updates the running statistics of batch normalisation: its passes in training mode."""
        return 1

    @property
    def start(self) -> str:
        """Name of the method whose trained weights are the initial ones, or ``scratch`` for random weights."""
        return SCRATCH

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings without effect beside the others as they are; typing one of them is an error."""
        return frozenset()

    def cost(self, classes: int) -> Cost | None:
        """Passes of the batch through the network that one step takes; None where this is unknown.

        Args:
            classes: of the network.
        """
        return None

    def check_images(self, *, channels: int, size: int, classes: int, gaze: bool) -> None:  # noqa: B027
        """Raise ValueError where the settings are invalid for these images; called before anything is trained.

        Args:
            channels, size, classes: of the images; H = W = size.
            gaze: whether the dataset has gaze maps.
        """

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network to train, e.g. with other activations; called before weights are initialised or loaded."""
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
            batch: images, and the state of training.
        """
        yield self.loss(model, batch.x, batch.y, batch.generator)
