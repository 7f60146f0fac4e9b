"""Certified robustness of a network's smoothed gradients, for every perturbation within a radius."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from attrobust.arrays import Floats
from attrobust.maps.certificates import certify_top_k, check_promise
from attrobust.maps.gaussian_certificates import gaussian_cosine, swaps_possible
from attrobust.maps.lengths import PIXELS, unit
from attrobust.maps.ranks import top_mask
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import gradient
from attrobust.naming.checks import at_least, in_pixel_units
from attrobust.threat import format_eps
from attrobust.types import Amount, Scope

LEAST_NOISE = 1e-6
"""Standard deviation below which noise is rounding."""
CHUNK = 2**26
"""Numbers of all draws that are held at a time, about: images are certified in parts, of one image or more."""


@dataclass(frozen=True, kw_only=True)
class Certified(Quality, kind=True):
    """Base class: a bound for the mean, over Gaussian noise, of a function of the explained logit's gradient.

    A fifth of the draws choose what is certified, a direction or a set of pixels, and the others certify it. The class
    is held fixed. The bound is for this map, whatever the explainer of the protocol, and for every image within the
    radius, in [0, 1] or not. A ``linf`` ball is certified by the l2 ball around it: ε in linf is a distance of ``ε √D``
    at most, D the numbers of an image. Memory: ``samples × D`` numbers of 8 bytes for an image.

    Attributes:
        stdev: standard deviation s of the noise, in pixel units; more noise gives better bounds of a coarser map.
        radius: certified radius, in pixel units.
        norm: of the radius. Changing every pixel of a 28×28 image by 1/255, linf 1/255, is an l2 distance of 0.11.
        samples: draws for each image.
        confidence: probability, over the draws, that the bound of an image holds.
    """

    stdev: float = 0.25
    radius: float = 0.1
    norm: Literal["l2", "linf"] = "l2"
    samples: int = 1000
    confidence: float = 0.99

    higher_is_better: ClassVar[bool] = True
    scope: ClassVar[Scope] = "network"

    def __post_init__(self) -> None:
        if not self.stdev >= LEAST_NOISE:
            raise ValueError(f"stdev={self.stdev:g} must be at least {LEAST_NOISE:g}, in pixel units")
        at_least(10, self, "samples")
        check_promise(self.radius, self.confidence)
        if self.norm == "linf":
            in_pixel_units(self, "radius")

    @property
    def reach(self) -> str:
        """The radius with its norm, e.g. ``l2 0.1`` or ``linf 4/255``."""
        return f"linf {format_eps(self.radius)}" if self.norm == "linf" else f"l2 {self.radius:g}"

    @abstractmethod
    def certificate(self, held_out: Floats, draws: Floats, radius: float) -> float:
        """The bound of one image.

        Args:
            held_out, draws: what ``of_gradient`` makes of the gradients of the two sets of draws, flattened to m×D and
                n×D.
            radius: l2, in pixel units.
        """

    @abstractmethod
    def of_gradient(self, gradients: Tensor) -> Tensor:
        """The function that is averaged, of gradients B×C×H×W; no image's depends on others."""

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        numbers = math.prod(case.clean.shape[1:])
        together = max(1, CHUNK // (self.samples * numbers))
        radius = self.radius * math.sqrt(numbers) if self.norm == "linf" else self.radius
        bounds = []
        for first in range(0, len(case.clean), together):
            part = _images(case, slice(first, first + together))
            held_out = self._draws(part, "held out", self.samples // 5)
            draws = self._draws(part, "certified", self.samples - self.samples // 5)
            bounds += [self.certificate(*both, radius) for both in zip(held_out, draws, strict=True)]
        return torch.tensor(bounds, dtype=torch.float64)

    def _draws(self, case: Case, purpose: str, count: int) -> Floats:
        """``of_gradient`` at noisy copies of the clean images, B×count×D."""
        streams = case.streams(f"certified gradients, {purpose}")

        def draw() -> Floats:
            noisy = case.clean + self.stdev * streams.normal(case.clean)
            found: Floats = self.of_gradient(gradient(case.model, noisy, case.target, "logit")).flatten(1).cpu().numpy()
            return found

        first = draw()
        # Filled in place: a list of draws beside their stack would be twice the memory.
        found = np.empty((len(first), count, first.shape[1]))
        found[:, 0] = first
        for place in range(1, count):
            found[:, place] = draw()
        return found


@register("certified-cosine")
@dataclass(frozen=True, kw_only=True)
class CertifiedCosine(Certified):
    """Lower bound of the cosine between a direction and the smoothed gradient of any image within a radius.

    The smoothed gradient is that of the explained logit scaled to length 1, averaged over Gaussian noise. The direction
    is the image's own smoothed gradient as the held-out draws estimate it. The bound is
    ``gaussian_certificates.gaussian_cosine``; it is -1 where nothing can be certified.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """E.g. ``certified cosine, l2 0.1``."""
        return f"certified cosine, {self.reach}"

    def of_gradient(self, gradients: Tensor) -> Tensor:
        """See ``Certified.of_gradient``."""
        return unit(gradients, PIXELS)

    def certificate(self, held_out: Floats, draws: Floats, radius: float) -> float:
        """See ``Certified.certificate``."""
        direction = held_out.sum(axis=0)
        length = float(np.linalg.norm(direction))
        return gaussian_cosine(
            held_out,
            draws,
            direction / (length or 1.0),
            stdev=self.stdev,
            radius=radius,
            confidence=self.confidence,
        )


@register("certified-topk")
@dataclass(frozen=True, kw_only=True)
class CertifiedTopK(Certified):
    """Share of a smoothed map's top k that is certified to stay in the top k at every image within a radius.

    The map is the share of noisy copies in which a pixel is among the ``keep`` largest of the explained logit's
    gradient, absolute values summed over channels (Levine et al. 2019, arXiv 1905.12105). The top k is that of the
    held-out draws. Two bounds have half of the error probability each, and the better one counts: of pixels one by one
    (``certificates.certify_top_k``) and of all together (``gaussian_certificates.swaps_possible``). It is 0 where
    nothing can be certified.

    Attributes:
        k: size of the certified set, a count of pixels or a percentage of them.
        keep: size of the top k of every draw, likewise.
    """

    k: Amount = Amount(10, percent=True)
    keep: Amount = Amount(10, percent=True)

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """E.g. ``certified top-10%, l2 0.1 (%)``."""
        return f"certified top-{self.k}, {self.reach} (%)"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where ``k`` or ``keep`` is more than the pixels of a map."""
        self.k.of(height * width)
        self.keep.of(height * width)

    def of_gradient(self, gradients: Tensor) -> Tensor:
        """See ``Certified.of_gradient``: 1 for the largest pixels; a gradient that is not finite has none."""
        size = gradients.abs().sum(dim=1).flatten(1)
        return top_mask(size, self.keep.of(size.shape[1])) & size.isfinite().all(dim=1, keepdim=True)

    def certificate(self, held_out: Floats, draws: Floats, radius: float) -> float:
        """See ``Certified.certificate``."""
        pixels, confidence = draws.shape[1], (1 + self.confidence) / 2
        k = self.k.of(pixels)
        top = np.argsort(-held_out.sum(axis=0), kind="stable")[:k]
        one_by_one = certify_top_k(
            draws.sum(axis=0)[None],
            len(draws),
            k=k,
            stdev=self.stdev,
            radius=radius,
            confidence=confidence,
            chosen=top[None],
        )
        missing = swaps_possible(
            draws,
            np.isin(np.arange(pixels), top),
            held_out.mean(axis=0),
            size=self.keep.of(pixels),
            stdev=self.stdev,
            radius=radius,
            confidence=confidence,
        )
        return max(float(one_by_one.overlap[0]), 1 - missing / k)


def _images(case: Case, rows: slice) -> Case:
    """The case of some of its images."""
    return replace(
        case,
        clean=case.clean[rows],
        attacked=case.attacked[rows],
        target=case.target[rows],
        partners=case.partners[rows],
        ids=list(case.ids)[rows],
        masks=None if case.masks is None else case.masks[rows],
    )
