"""Certified robustness of a network's smoothed gradients, for every perturbation within an l2 radius."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.arrays import Floats
from attrobust.maps.certificates import certify_top_k, check_promise, gaussian_cosine
from attrobust.maps.lengths import PIXELS, unit
from attrobust.maps.ranks import top_mask
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import gradient
from attrobust.naming.checks import above_zero, at_least
from attrobust.types import Amount, Scope


@dataclass(frozen=True, kw_only=True)
class Certified(Quality, kind=True):
    """Base class: a bound for the mean, over Gaussian noise, of a function of the explained logit's gradient.

    Attributes:
        stdev: standard deviation s of the noise, in pixel units; more noise gives better bounds of a coarser map.
        radius: certified radius: the bound holds for every image within this l2 distance, in pixel units. Changing
            every pixel of a 28×28 image by 1/255 is a distance of 0.11.
        samples: draws for each image.
        confidence: probability, over the draws, that the bound of an image holds.
    """

    stdev: float = 0.25
    radius: float = 0.1
    samples: int = 1000
    confidence: float = 0.99

    higher_is_better: ClassVar[bool] = True
    scope: ClassVar[Scope] = "network"

    def __post_init__(self) -> None:
        above_zero(self, "stdev")
        at_least(10, self, "samples")
        check_promise(self.radius, self.confidence)

    def _gradients(self, case: Case, purpose: str, count: int) -> Iterator[Tensor]:
        """Gradients of the explained logit at noisy copies of the clean images, B×C×H×W, one draw at a time."""
        streams = case.streams(purpose)
        for _ in range(count):
            noisy = case.clean + self.stdev * streams.normal(case.clean)
            yield gradient(case.model, noisy, case.target, "logit")


@register("certified-cosine")
@dataclass(frozen=True, kw_only=True)
class CertifiedCosine(Certified):
    """Lower bound of the cosine between the smoothed gradient here and at any image within an l2 radius.

    The smoothed gradient is that of the explained logit scaled to length 1, averaged over Gaussian noise; the class is
    held fixed. The bound is for this map, whatever the explainer of the protocol, and for every image within the
    radius, in [0, 1] or not. A fifth of the draws give the direction, the others the bound
    (``certificates.gaussian_cosine``: an empirical Bernstein bound and the Lipschitz constant of Gaussian smoothing).
    It is -1 where nothing can be certified.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """E.g. ``certified cosine, l2 0.1``."""
        return f"certified cosine, l2 {self.radius:g}"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        held_out = self.samples // 5
        direction = torch.zeros_like(case.clean)
        for noisy in self._gradients(case, "certified-cosine direction", held_out):
            direction += unit(noisy, PIXELS)
        direction = unit(direction, PIXELS)
        draws = self._gradients(case, "certified-cosine", self.samples - held_out)
        cosines = torch.stack([(unit(noisy, PIXELS) * direction).sum(dim=PIXELS) for noisy in draws], dim=1)
        bound = gaussian_cosine(_floats(cosines), stdev=self.stdev, radius=self.radius, confidence=self.confidence)
        return torch.from_numpy(bound)


@register("certified-topk")
@dataclass(frozen=True, kw_only=True)
class CertifiedTopK(Certified):
    """Share of a smoothed map's top k that is certified to stay in the top k at every image within an l2 radius.

    The map is the share of noisy copies in which a pixel is among the ``keep`` largest of the explained logit's
    gradient, absolute values summed over channels (Levine et al. 2019, arXiv 1905.12105); the class is held fixed. The
    bound (``certificates.certify_top_k``) is for this map, whatever the explainer of the protocol, and for every image
    within the radius, in [0, 1] or not. It is 0 where nothing can be certified.

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
        return f"certified top-{self.k}, l2 {self.radius:g} (%)"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where ``k`` or ``keep`` is more than the pixels of a map."""
        self.k.of(height * width)
        self.keep.of(height * width)

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        pixels = math.prod(case.clean.shape[2:])
        counts = torch.zeros_like(case.clean[:, 0].flatten(1))
        for noisy in self._gradients(case, "certified-topk", self.samples):
            size = noisy.abs().sum(dim=1).flatten(1)
            # A gradient that is not finite counts for no pixel, so that nothing is certified by it.
            counts += top_mask(size, self.keep.of(pixels)) & size.isfinite().all(dim=1, keepdim=True)
        certificate = certify_top_k(
            _floats(counts),
            self.samples,
            k=self.k.of(pixels),
            stdev=self.stdev,
            radius=self.radius,
            confidence=self.confidence,
        )
        return torch.from_numpy(certificate.overlap)


def _floats(values: Tensor) -> Floats:
    array: Floats = values.double().cpu().numpy()
    return array
