"""Structural similarity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.metrics import register
from attrobust.metrics.base import SpatialSimilarity
from attrobust.metrics.shared.rows import scaled
from attrobust.naming.checks import above_zero

MAP = (1, 2)
"""Axes of one map in a batch."""
FARTHEST = 1e120
"""Values are clamped to this many times L's scale so that squares stay finite; SSIM is 0 long before."""

WIDE = 1e3
"""Largest deviation from the mean, in data ranges, for which variances are computed as differences of squares."""


@register("ssim")
@dataclass(frozen=True, kw_only=True)
class SSIM(SpatialSimilarity):
    """Structural similarity, ``(2 μ_a μ_b + C1)(2 σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2))`` over windows.

    The score is the mean over windows (Wang et al., IEEE Transactions on Image Processing 13(4), 2004) with
    ``C1 = (.01 L)²`` and ``C2 = (.03 L)²``. Window, edges and data range L change it strongly. The defaults are those
    of scikit-image, with L the range of the clean map. Undefined (NaN) where the clean map is constant, or the map that
    L is the range of. It is the only similarity here that depends on the scale of one map alone, unless ``normalize``
    removes it.

    Attributes:
        window: ``uniform``, or ``gaussian`` of standard deviation ``sigma``.
        size: side of the square window in pixels, odd.
        sigma: of the Gaussian window, in pixels.
        edges: ``inside``, the windows that lie in the map, or ``zero``, a window around every pixel, zeros outside.
        covariance: ``sample``, variances times n/(n-1) for windows of n pixels, or ``population``.
        range: L: range of the ``clean`` map, of the ``attacked`` one, of ``both`` together, or the number ``value``.
        value: L where ``range=value``.
        normalize: each map is first divided by its ``max`` or its ``sum`` of absolute values, or by nothing.
    """

    window: Literal["uniform", "gaussian"] = "uniform"
    size: int = 7
    sigma: float = 1.5
    edges: Literal["inside", "zero"] = "inside"
    covariance: Literal["sample", "population"] = "sample"
    range: Literal["clean", "attacked", "both", "value"] = "clean"
    value: float = 1.0
    normalize: Literal["none", "max", "sum"] = "none"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    # The official code of AGA has the attacked map as its first, and takes the range of that over a whole batch; here
    # an image has its own. Bhusal et al. and ATEX do not normalise gradients.
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "aga": {
            "window": "gaussian",
            "edges": "zero",
            "covariance": "population",
            "range": "attacked",
            "normalize": "max",
            "maps": "abs-sum",
        },
        "atex": {
            "window": "gaussian",
            "size": "11",
            "covariance": "population",
            "range": "value",
            "maps": "abs-sum",
        },
        "bhusal": {"size": "5", "range": "value", "value": "2", "maps": "abs-sum"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f"size={self.size} must be odd and at least 3")
        above_zero(self, "sigma", "value")

    @property
    def title(self) -> str:
        """E.g. ``SSIM`` or ``SSIM (gaussian 11)``."""
        return "SSIM" if self.window == "uniform" and self.size == 7 else f"SSIM ({self.window} {self.size})"

    @property
    def idle(self) -> frozenset[str]:
        """See ``Metric.idle``."""
        found = frozenset() if self.range == "value" else frozenset({"value"})
        return found | (frozenset() if self.window == "gaussian" else frozenset({"sigma"}))

    def check_size(self, height: int, width: int) -> None:
        """See ``Metric.check_size``: a window must fit into the map."""
        if self.edges == "inside" and self.size > min(height, width):
            raise ValueError(f"size={self.size} is more than the sides of a {height}×{width} map; try edges=zero")

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``SpatialSimilarity.compare``; raises ValueError where the window is larger than the maps."""
        self.check_size(a.shape[1], a.shape[2])
        constant = a.amax(dim=MAP) == a.amin(dim=MAP)
        if self.normalize != "none":
            a, b = (scaled(maps.flatten(1), self.normalize).view_as(maps) for maps in (a, b))
        unit, span = self._range(a, b)
        margin = self.size // 2 if self.edges == "zero" else 0
        (a, shift_a), (b, shift_b) = (_in_ranges(maps, unit, span, margin) for maps in (a, b))
        weights = self._weights()
        mean_a, mean_b = _windows(a, weights), _windows(b, weights)
        variances = _windows((a * a).addcmul_(b, b), weights) - mean_a * mean_a - mean_b * mean_b
        covariance = _windows(a * b, weights) - mean_a * mean_b
        wide = torch.maximum(a.abs(), b.abs()).amax(dim=MAP) > WIDE
        if wide.any():
            moments = _moments(a[wide], b[wide], mean_a[wide], mean_b[wide], weights)
            variances[wide], covariance[wide] = moments
        if self.covariance == "sample":
            sample = self.size**2 / (self.size**2 - 1)
            variances, covariance = sample * variances, sample * covariance
        mean_a, mean_b = mean_a + shift_a, mean_b + shift_b
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a * mean_a + mean_b * mean_b + 0.01**2)
        scores = (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean(dim=MAP)
        return scores.masked_fill(constant, float("nan")).clamp(-1.0, 1.0)

    def _range(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """A scale that maps are divided by, and L in units of it; each B×1×1."""
        if self.range == "value":
            return torch.full_like(a[:, :1, :1], self.value), torch.ones_like(a[:, :1, :1])
        maps = {"clean": a, "attacked": b, "both": torch.cat([a, b], dim=1)}[self.range]
        unit = maps.abs().amax(dim=MAP, keepdim=True)
        scaled = maps / unit
        return unit, scaled.amax(dim=MAP, keepdim=True) - scaled.amin(dim=MAP, keepdim=True)

    def _weights(self) -> list[float]:
        """Weights of a window along one axis, which sum to 1."""
        places = [place - self.size // 2 for place in range(self.size)]
        weights = [
            math.exp(-(place**2) / (2 * self.sigma**2)) if self.window == "gaussian" else 1.0 for place in places
        ]
        return [weight / sum(weights) for weight in weights]


def _in_ranges(maps: Tensor, unit: Tensor, span: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Padded maps in units of the data range minus their means, B×H×W, and the means, B×1×1.

    Without their means, variances as differences of squares do not cancel.
    """
    maps = F.pad((maps / unit).clamp(-FARTHEST, FARTHEST), (margin,) * 4)
    mean = maps.mean(dim=MAP, keepdim=True)
    return (maps - mean) / span, mean / span


def _windows(maps: Tensor, weights: list[float]) -> Tensor:
    """Weighted means over all windows that lie inside the map; a pixel's weight is that of its row times its column."""
    for dim in MAP:
        length = maps.shape[dim] - len(weights) + 1
        total = weights[0] * maps.narrow(dim, 0, length)
        for start, weight in enumerate(weights[1:], 1):
            total.add_(maps.narrow(dim, start, length), alpha=weight)
        maps = total
    return maps


def _moments(a: Tensor, b: Tensor, mean_a: Tensor, mean_b: Tensor, weights: list[float]) -> tuple[Tensor, Tensor]:
    """Sum of both variances, and covariance, in each window, from deviations, without cancellation."""
    variances, covariance = torch.zeros_like(mean_a), torch.zeros_like(mean_a)
    height, width = mean_a.shape[1:]
    for (row, down), (column, right) in itertools.product(enumerate(weights), repeat=2):
        there = (slice(None), slice(row, row + height), slice(column, column + width))
        from_a, from_b = a[there] - mean_a, b[there] - mean_b
        variances.add_(from_a * from_a + from_b * from_b, alpha=down * right)
        covariance.add_(from_a * from_b, alpha=down * right)
    return variances, covariance
