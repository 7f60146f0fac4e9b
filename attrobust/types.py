"""Value types shared by all rooms: amounts, costs, cards, cells, flags, usage errors. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict

from attrobust.numbers import quoted

Scope = Literal["attack", "map", "network", "training"]
"""What a metric belongs to: the maps of a cell before and after an attack, the clean map, the network, or networks that
are trained anew."""
SplitName = Literal["train", "val", "test"]
"""The three parts of a dataset."""
Settings = dict[str, Any]
"""Settings of a component or of a training by name: JSON values, as many as its class has fields."""


class UsageError(Exception):
    """A mistake in what the user asked for: printed as one line, exit code 2."""


def percent(share: float, digits: str = ".1f") -> str:
    """A share as people read it, ``61.2 %``, with digits in the words of ``format``."""
    return f"{format(100 * share, digits)} %"


MOST_PIXELS = 2**53
"""Of an amount; above it floats skip whole numbers."""


@dataclass(frozen=True)
class Amount:
    """A count of pixels, ``100``, or a share of them, ``10%``.

    Attributes:
        value: the count, or the percentage.
        percent: whether ``value`` is a percentage.
    """

    value: float
    percent: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"100"`` or ``"10%"``; raises ValueError outside (0, 100 %] or for a count that is not whole."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text, re.ASCII)
        if match is None:
            raise ValueError(f"{quoted(text)} is neither a count such as 100 nor a percentage such as 10%")
        value, percent = float(match[1]), bool(match[2])
        if value <= 0 or (percent and value > 100):
            raise ValueError(f"{quoted(text)} must be above 0" + (" and at most 100%" if percent else ""))
        if not percent and value > MOST_PIXELS:
            raise ValueError(f"{quoted(text)} is more pixels than any map has")
        if not percent and value != int(value):
            raise ValueError(f"{quoted(text)} must be a whole number of pixels or end in %")
        return cls(value, percent)

    def of(self, total: int) -> int:
        """The number of pixels this is out of ``total``: a percentage is rounded to nearest, at least 1.

        Raises:
            ValueError: a count larger than ``total``.
        """
        if self.percent:
            return max(1, round(total * self.value / 100))
        if self.value > total:
            raise ValueError(f"k={self} is more than the {total} pixels of a map")
        return int(self.value)

    def __str__(self) -> str:
        digits = str(int(self.value)) if self.value == int(self.value) else repr(self.value)
        return f"{digits}%" if self.percent else digits


@dataclass(frozen=True)
class Cost:
    """Cost of a training step, in passes of its batch through the network.

    Attributes:
        forward: F, evaluations of the network.
        backward: B, gradients pulled back through one evaluation, to the weights, the input or both.
        double_backward: H, derivatives of such a gradient, of whatever order; that the derivative then also flows
            back through the evaluation counts as one more B.

    Raises:
        ValueError: one that is not a finite number, or is negative.
    """

    forward: float = 0
    backward: float = 0
    double_backward: float = 0

    def __post_init__(self) -> None:
        for count in (self.forward, self.backward, self.double_backward):
            if not isinstance(count, (int, float)) or not math.isfinite(count) or count < 0:
                raise ValueError(f"a cost is a number of passes, finite and not negative, not {count!r}")

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forward + other.forward,
            self.backward + other.backward,
            self.double_backward + other.double_backward,
        )

    def __str__(self) -> str:
        terms = zip((self.forward, self.backward, self.double_backward), "FBH", strict=True)
        return " + ".join(f"{'' if count == 1 else format(count, 'g')}{name}" for count, name in terms if count) or "0"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Paper, loss and published settings of a training method.

    Attributes:
        title: paper title; empty for a plug-in that states none.
        authors: short form, e.g. ``Joo et al.``.
        year: of publication.
        arxiv: arXiv identifier.
        equation: the training loss, in the paper's symbols.
        settings: what the paper or its code uses, in our units, by ``dataset/model`` or ``dataset``: text as typed on
            the command line. For a dataset and a model of these registered names they replace the method's defaults.
        note: the paper's own units, differences between paper and official code, and which of them is implemented.
    """

    title: str = ""
    authors: str = ""
    year: int | None = None
    arxiv: str = ""
    equation: str = ""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str = ""

    def settings_for(self, dataset: str, model: str) -> dict[str, str]:
        """The card's settings for a dataset and a model; those of ``dataset/model`` override those of ``dataset``."""
        return {**self.settings.get(dataset, {}), **self.settings.get(f"{dataset}/{model}", {})}


class Named(TypedDict, total=False):
    """A component; empty where there is none.

    Attributes:
        name: registered.
        settings: all of them, defaults included.
    """

    name: str
    settings: Settings


class DatasetFacts(Named, total=False):
    """A dataset, and the images that decide weights.

    Attributes:
        name, settings: see ``Named``.
        train_sha256, val_sha256: of the split trained on, and of the one that the best epoch is chosen on.
    """

    train_sha256: str
    val_sha256: str


class Ball(TypedDict, total=False):
    """What an attack may do; empty where nothing attacks.

    Attributes:
        norm, eps, keep_prediction: see ``ThreatModel``.
    """

    norm: Literal["linf", "l2"]
    eps: float
    keep_prediction: bool


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
class NetworkFacts:
    """What a network is, apart from its weights.

    Attributes:
        method: that trained it; None for a user's checkpoint and where nothing was trained.
        model: its architecture.
        plugins: of method and model, digests of their files where these are plug-ins; empty for those of this project.
        images: that it takes.
    """

    method: Named | None
    model: Named
    plugins: tuple[str, ...]
    images: ImageFacts


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One evaluation: everything that decides its scores, and nothing else. Resuming finds it by its fingerprint.

    Attributes:
        subject: the network, apart from its weights.
        checkpoint_sha256: of the weights.
        dataset: name and settings.
        data_sha256: of the evaluated images, their classes and their order.
        images: number of evaluated images.
        explainer, attack: names and settings. Both are empty for clean accuracy and metrics of the network alone, the
            explainer for accuracy under attack, the attack for metrics of clean maps.
        threat: what the attack may do; empty without one.
        label: which class is explained, ``predicted`` or ``true``; empty for accuracy.
        reduction: channels to map; empty without an explainer.
        seed: of the evaluation.
        protocol: name and version.
        code: digest of the sources that compute the scores, and versions of the libraries; other code is another cell.
        training: the recipe of networks that a retraining metric trains; empty elsewhere.
        batch_size: for an attack whose result depends on it, else 0.
        source_model_sha256: of the weights of a transfer attack's source model; empty for other attacks.
    """

    subject: NetworkFacts
    checkpoint_sha256: str
    dataset: Named
    data_sha256: str
    images: int
    explainer: Named
    attack: Named
    label: str
    reduction: str
    seed: int
    protocol: str
    code: str
    threat: Ball = field(default_factory=Ball)
    training: Settings = field(default_factory=dict)
    batch_size: int = 0
    source_model_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A reason not to trust a number.

    Attributes:
        name: short, as tables print it.
        reason: one sentence with the figures that raised it.
    """

    name: str
    reason: str
