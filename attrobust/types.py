"""The values every room speaks of: threat models, amounts, cards and the errors a user sees. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import torch

CONTAINMENT_TOLERANCE = 1e-6
"""Slack, in pixel units, for the float32 rounding of ``x0 + delta`` when membership of a ball is checked."""


class UsageError(Exception):
    """A mistake in what the user asked for: printed as one line, exit code 2."""


def parse_number(text: str) -> float:
    """Read a finite number, written as a decimal (``0.03``), in scientific notation or as a fraction (``8/255``).

    Raises:
        ValueError: the text is neither, divides by zero or is not finite.
    """
    numerator, slash, denominator = text.strip().partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is not a number (write 0.03 or 8/255)") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


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
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
        if match is None:
            raise ValueError(f"{text!r} is neither a count such as 100 nor a percentage such as 10%")
        value, percent = float(match[1]), bool(match[2])
        if value <= 0 or (percent and value > 100):
            raise ValueError(f"{text!r} must be above 0" + (" and at most 100%" if percent else ""))
        if not percent and value != int(value):
            raise ValueError(f"{text!r} must be a whole number of pixels or end in %")
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


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What an attacker may do to an image with pixels in [0, 1].

    Attributes:
        norm: ``linf`` bounds every pixel's change, ``l2`` the Euclidean norm over channels and pixels.
        eps: radius of the ball in pixel units, e.g. ``8 / 255``; never in normalised units.
        keep_prediction: whether the model's predicted class must stay what it was.
    """

    norm: Literal["linf", "l2"] = "linf"
    eps: float
    keep_prediction: bool = True

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"norm must be linf or l2, not {self.norm!r}")
        largest = 1.0 if self.norm == "linf" else math.inf
        if not 0 <= self.eps <= largest:
            raise ValueError(f"eps={self.eps:g} must be between 0 and {largest:g} in pixel units (write 8/255, not 8)")

    def project(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """A point of ball and pixel box: for linf the nearest to ``x``, for l2 the ball's nearest, clamped.

        Args:
            x0: clean images, B×C×H×W in [0, 1].
            x: candidates of the same shape.
        """
        delta = _wide(x) - _wide(x0)
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            length = delta.flatten(1).norm(dim=1).clamp_min(1e-30)
            delta = delta * (self.eps / length).clamp_max(1.0).view(-1, 1, 1, 1)
        return (_wide(x0) + delta).clamp(0.0, 1.0).to(x0)

    def contains(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """bool[B]: finite, inside the pixel box and, up to rounding, inside the ball."""
        delta = (_wide(x) - _wide(x0)).flatten(1)
        size = delta.abs().amax(dim=1) if self.norm == "linf" else delta.norm(dim=1)
        pixels = x.flatten(1)
        inside = (pixels.amin(dim=1) >= 0) & (pixels.amax(dim=1) <= 1)
        return pixels.isfinite().all(dim=1) & inside & (size <= self.eps + CONTAINMENT_TOLERANCE)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The unit step of steepest ascent in this norm; zero where the gradient is zero or not finite."""
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if self.norm == "linf":
            return gradient.sign()
        from attrobust.lengths import PIXELS, unit  # Not above: this module imports no torch.

        return unit(gradient, PIXELS)

    def scatter(self, x0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Random points of the ball and the box from ``noise`` uniform on [-1, 1], shaped like ``x0``.

        For ``linf`` the points are uniform in the cube; for ``l2`` they lie on the sphere of radius eps,
        where almost all of a high-dimensional ball is.
        """
        if self.norm == "l2":
            noise = noise / _wide(noise).flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        return self.project(x0, x0 + self.eps * noise)

    def __str__(self) -> str:
        return f"{self.norm} {format_eps(self.eps) if self.norm == 'linf' else format(self.eps, 'g')}"


def _wide(x: torch.Tensor) -> torch.Tensor:
    """In float64 where the device has it: float32 norms of 150,000 numbers are off by more than the tolerance."""
    return x if x.device.type == "mps" else x.double()


def format_eps(eps: float) -> str:
    """``0.0313725`` as ``8/255`` where it is a whole number of grey levels, else as a decimal."""
    levels = eps * 255
    if levels and abs(levels - round(levels)) < 1e-9:
        return f"{round(levels)}/255"
    return f"{eps:g}"


@dataclass(frozen=True)
class Cost:
    """What one training step costs, in passes of its batch through the network.

    Attributes:
        forward: F, evaluations of the network.
        backward: B, gradients pulled back through one evaluation, to the weights, the input or both.
        double_backward: H, derivatives of such a gradient, of whatever order; that the derivative then also flows
            back through the evaluation counts as one more B.
    """

    forward: float = 0
    backward: float = 0
    double_backward: float = 0

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
    """Where a training method comes from.

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
        """The card's settings for a dataset and a model, the more specific ones first in rank."""
        return {**self.settings.get(dataset, {}), **self.settings.get(f"{dataset}/{model}", {})}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One evaluation: everything that decides its scores, and nothing else. Its fingerprint is the key for resuming.

    Attributes:
        subject: the network: method or checkpoint, architecture, both with all their settings.
        checkpoint_sha256: of the weights.
        dataset: name and settings.
        data_sha256: of the evaluated images, their classes and their order.
        images: how many.
        explainer, attack: names and settings; empty where there is none: both for clean accuracy and what is measured
            of a network alone, the explainer for accuracy under attack, the attack for what is measured of clean maps.
        threat: norm, eps and whether the prediction is kept; empty without an attack.
        label: which class is explained, ``predicted`` or ``true``; empty for accuracy.
        reduction: channels to map; empty without an explainer.
        seed: of the evaluation.
        protocol: name and version.
        code: digest of the sources that compute the scores, and versions of the libraries; other code is another cell.
        batch_size: for an attack whose result depends on it, else 0.
        donor_sha256: of the weights of the other network the attack uses; empty where it uses none.
    """

    subject: dict[str, Any]
    checkpoint_sha256: str
    dataset: dict[str, Any]
    data_sha256: str
    images: int
    explainer: dict[str, Any]
    attack: dict[str, Any]
    label: str
    reduction: str
    seed: int
    protocol: str
    code: str
    threat: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 0
    donor_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A reason not to trust a number.

    Attributes:
        name: short, as tables print it.
        reason: one sentence with the figures that raised it.
    """

    name: str
    reason: str
