"""Sources of a user's weights, and the claims of their authors."""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.checkpoints.holders import read_states
from attrobust.benchmark.checkpoints.state_dict import load_states
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.data.preparation import Preparation
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.normalization import Constants
from attrobust.benchmark.training.loop import prepared
from attrobust.files import file_sha256
from attrobust.methods import registry as methods
from attrobust.methods.base import Method
from attrobust.naming.component import resolve
from attrobust.naming.spec import fingerprint, spec_of
from attrobust.networks.copying import independent_copy
from attrobust.networks.smoothed import activations
from attrobust.types import ImageFacts, SplitName, UsageError


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the authors of weights state about them.

    Attributes:
        source: of the statement, in words.
        accuracy: share of images classified correctly, or None.
        split: the images that ``accuracy`` is of.
        normalization: mean and std, or None.
        activations: the kinds of activation modules; empty where these are not stated.
        preparation: how images are scaled and cropped; None where it is not stated.
        manipulation: what was done to the weights so that maps mislead, in words; empty where nothing was.
    """

    source: str
    accuracy: float | None = None
    split: SplitName = "test"
    normalization: Constants | None = None
    activations: tuple[str, ...] = ()
    preparation: Preparation | None = None
    manipulation: str = ""

    def __post_init__(self) -> None:
        if self.accuracy is not None and not (_is_number(self.accuracy) and 0 <= self.accuracy <= 1):
            raise ValueError(f"accuracy = {self.accuracy!r} must be a share between 0 and 1, such as 0.83")
        if self.normalization is not None and not all(map(_is_number, sum(self.normalization, ()))):
            raise ValueError("mean and std must be lists of numbers, in pixel units")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Source(ABC):
    """A source of weights: a file, or another package."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Name of the source in error messages."""

    @property
    def classes(self) -> int | None:
        """Number of classes of the weights; None where it is unknown before they are read."""
        return None

    @abstractmethod
    def fill(self, network: nn.Module, unused: Sequence[str] = ()) -> str:
        """Load the weights into a network, set it to evaluation mode, and return a sha256 of the weights.

        Args:
            network: to load them into.
            unused: see ``ModelFamily.unused``.

        Raises:
            UsageError: they cannot be read or do not fit, see ``load_states``.
        """

    @abstractmethod
    def claim(self, data: Loaded) -> Claim | None:
        """The authors' claim for these images; None where there is none; raises UsageError where it is not readable."""


@dataclass(frozen=True, kw_only=True)
class WeightFile(Source):
    """A weight file, with the claims in a TOML file of the same name beside it, if there is one.

    Attributes:
        path: of the file.
        key: of the weights in the file that are meant, see ``read_states``; empty where the file has no others.
    """

    path: Path
    key: str = ""

    @property
    def origin(self) -> str:
        """See ``Source.origin``."""
        return f"{self.path}:key={self.key}" if self.key else str(self.path)

    def fill(self, network: nn.Module, unused: Sequence[str] = ()) -> str:
        """See ``Source.fill``; the hash is of the file, and of the key where there is one: other weights of a file."""
        states, sha256 = read_states(self.path, self.key)
        load_states(network, states, self.origin, unused)
        return fingerprint([sha256, self.key]) if self.key else sha256

    def claim(self, data: Loaded) -> Claim | None:
        """From a weight card, or from the keys ``accuracy``, e.g. 0.83, ``mean`` and ``std`` of a user's file."""
        path = self.path.with_suffix(".toml")
        if not path.is_file():
            return None
        try:
            stated = tomllib.loads(path.read_text(encoding="utf-8"))
            sha256 = stated.get("sha256")
            if sha256 is not None and sha256 != file_sha256(self.path):
                raise ValueError(f"its sha256 is not that of {self.path.name}: a card of other weights")
            if "val_accuracy" in stated:
                return _of_card(WeightCard.read(path), data)
            constants = (tuple(stated["mean"]), tuple(stated["std"])) if {"mean", "std"} <= stated.keys() else None
            accuracy = stated.get("accuracy")
            if accuracy is None and constants is None:
                return None
            return Claim(source="the card", accuracy=accuracy, normalization=constants)
        except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
            raise UsageError(f"{path}: {error}") from error


def _of_card(card: WeightCard, data: Loaded) -> Claim:
    val = data.splits["val"]
    same_images = len(val) > 0 and card.dataset.get("val_sha256") == val.sha256
    accuracy = card.val_accuracy if same_images else None
    claim = Claim(source="the card", accuracy=accuracy, split="val", manipulation=card.manipulation)
    try:
        method, family, facts = parts_of(card)
    except UsageError:  # It was trained by a plug-in that is not loaded.
        return claim
    kinds = activation_kinds(prepared(independent_copy(method), family, facts))
    return replace(claim, normalization=family.constants(facts), activations=kinds)


def parts_of(card: WeightCard) -> tuple[Method, ModelFamily, ImageFacts]:
    """Method, architecture and image facts of a card.

    Raises:
        UsageError: method or architecture are not registered.
    """
    (method,) = resolve(methods, [spec_of(card.method)], Method)
    (family,) = resolve(models.registry, [spec_of(card.model)], ModelFamily)
    return method.item, family.item, card.images


def activation_kinds(network: nn.Module) -> tuple[str, ...]:
    """The kinds of activation modules in a network, with their settings."""
    return tuple(sorted({str(module) for module in activations(network)}))
