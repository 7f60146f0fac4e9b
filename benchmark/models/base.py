"""The contract of an architecture: it turns the facts of a dataset into a network that owns its normalisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from attrobust.sizes import set_image_shape
from attrobust.views import softplus_view


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a network has to know of its images.

    Attributes:
        channels, size: of an image, C and H = W in pixels.
        classes: number of classes.
        mean, std: per channel, in pixel units; what the network normalises with.
    """

    channels: int
    size: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ModelFamily(ABC):
    """An architecture; the fields of a subclass are its settings.

    A network built here takes pixels in [0, 1], normalises inside, returns logits B×K, has one activation module per
    call site and no in-place activation.

    Attributes:
        activation: ``softplus`` replaces every ReLU, for a checkpoint that was trained so; a training method that needs
            other activations puts them in itself.
        beta: sharpness of the softplus.
    """

    activation: Literal["relu", "softplus"] = "relu"
    beta: float = 3.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, not {self.beta:g}")

    @abstractmethod
    def network(self, facts: ImageFacts) -> nn.Module:
        """What an author writes: a freshly initialised network with ``nn.ReLU`` activations.

        Raises:
            ValueError: the architecture does not fit the images.
        """

    @final
    def build(self, facts: ImageFacts) -> nn.Module:
        """A freshly initialised network with the activations asked for; raises ValueError like ``network``."""
        network = self.network(facts)
        set_image_shape(network, facts.channels, facts.size)
        return softplus_view(network, self.beta) if self.activation == "softplus" else network
