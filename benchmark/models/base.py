"""The contract of an architecture: it builds a network, with its normalisation inside, from facts of a dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final, get_args

import torch
from torch import nn

from attrobust.benchmark.models.normalization import (
    Constants,
    Normalization,
    constants,
    describe,
    parse_normalization,
)
from attrobust.networks.copying import independent_copy
from attrobust.networks.sizes import set_image_shape
from attrobust.networks.smoothed import softplus_model
from attrobust.outputs import with_logits
from attrobust.places import ours
from attrobust.process import seeded, standard
from attrobust.types import ImageFacts


@dataclass(frozen=True, kw_only=True)
class ModelFamily(ABC):
    """An architecture; the fields of a subclass are its settings.

    A network built here takes pixels in [0, 1], normalises inside, returns logits B×K, has one activation module per
    call site and no in-place activation.

    Attributes:
        activation: ``softplus`` replaces every ReLU, for a checkpoint that was trained so; a training method that needs
            other activations replaces them itself.
        beta: inverse temperature of the softplus, ``log(1 + exp(beta z)) / beta``.
        normalize: constants of the normalisation: ``data``, those of the dataset, or those that a checkpoint was
            trained with: ``imagenet``, ``cifar10``, ``half`` (mean and std 0.5), ``none``, or mean and std themselves,
            a number per channel: ``0.48+0.46+0.41/0.27+0.26+0.28``.
        package: the distribution that provides the networks; empty for those of this project.
        converters: by setting, what turns its text into a value, where the type of the field does not say that.
        unused: parts of the names of weights that a file may have, and that networks do not use when evaluated.
    """

    package: ClassVar[str] = ""
    unused: ClassVar[tuple[str, ...]] = ()
    converters: ClassVar[Mapping[str, Callable[[str], Any]]] = {"normalize": parse_normalization}

    activation: Literal["relu", "softplus"] = "relu"
    beta: float = 3.0
    normalize: Normalization = "data"

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, not {self.beta:g}")

    @abstractmethod
    def network(self, facts: ImageFacts) -> nn.Module:
        """A freshly initialised network with ``nn.ReLU`` activations, which an author writes.

        Raises:
            ValueError: the architecture does not fit the images.
        """

    @final
    def build(self, facts: ImageFacts) -> nn.Module:
        """A freshly initialised network with the activations and the normalisation of the settings.

        Raises:
            ValueError: as ``network``, or the normalisation does not fit the images.
        """
        mean, std = self.constants(facts)
        with standard():
            network = self._own_network(replace(facts, mean=mean, std=std))
        set_image_shape(network, facts.channels, facts.size)
        return softplus_model(network, self.beta) if self.activation == "softplus" else network

    def _own_network(self, facts: ImageFacts) -> nn.Module:
        """What ``network`` returns; of a plug-in a copy, since it may return a network that it has returned before."""
        if ours(type(self)):
            return self.network(facts)
        network = independent_copy(independent_copy(self).network(facts))
        return _with_logits(network, facts) if isinstance(network, nn.Module) else network

    def suited_to(self, shapes: Mapping[str, tuple[int, ...]]) -> Self:  # noqa: ARG002
        """This architecture with the settings, such as width, that fit weights of these names and shapes.

        Raises:
            KeyError: a name is missing.
        """
        return self

    @final
    def constants(self, facts: ImageFacts) -> Constants:
        """Mean and std of the normalisation; raises ValueError where they do not fit the images."""
        return (facts.mean, facts.std) if self.normalize == "data" else constants(self.normalize, facts.channels)

    def stated_normalization(self, facts: ImageFacts) -> str:
        """The normalisation in words."""
        name = self.normalize if self.normalize in get_args(Normalization) else "as typed"
        return f"{name}, {describe(*self.constants(facts))}"


def _with_logits(network: nn.Module, facts: ImageFacts) -> nn.Module:
    """The network, such that it returns logits; as it is where it does not compute: whoever tries it finds out why."""
    training, images = network.training, torch.zeros(2, facts.channels, facts.size, facts.size)
    try:
        with seeded(0):
            return with_logits(network.eval(), images, facts.classes).train(training)
    except ValueError:
        raise
    except Exception:
        return network.train(training)
