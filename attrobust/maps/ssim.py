"""Structural similarity of maps B×H×W: Wang et al., IEEE Transactions on Image Processing 13(4), 2004."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.maps.rows import largest

MAP = (1, 2)
"""Axes of one map in a batch."""
SIZE = 7
"""Side of the window, in pixels, unless another is asked for."""
WIDE = 1e3
"""Data ranges that a map may be away from its mean for variances to be differences of squares."""

Range = Literal["clean", "attacked", "both"]


def ssim(
    a: Tensor,
    b: Tensor,
    *,
    size: int = SIZE,
    sigma: float | None = None,
    edges: Literal["inside", "zero"] = "inside",
    covariance: Literal["sample", "population"] = "sample",
    span: Range | float = "clean",
) -> Tensor:
    """Mean over windows of ``(2 μ_a μ_b + C1)(2 σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2))``, differentiable.

    ``C1 = (.01 L)²`` and ``C2 = (.03 L)²`` with the data range L. The defaults are those of scikit-image, L being the
    range of the clean map. It changes with the scale of one map alone.

    Args:
        a: clean maps, B×H×W.
        b: attacked maps, B×H×W.
        size: side of the square window in pixels, odd.
        sigma: standard deviation of a Gaussian window, in pixels; None for an evenly weighted one.
        edges: ``inside``, the windows that lie in the map, or ``zero``, a window around every pixel, zeros outside.
        covariance: ``sample``, variances times n/(n-1) for windows of n pixels, or ``population``.
        span: L: range of the ``clean`` map, of the ``attacked`` one, of ``both`` together, or a number.

    Returns:
        float[B]; NaN where the map that L is taken of is constant.
    """
    unit, ranges = _unit_and_range(a, b, span)
    margin = size // 2 if edges == "zero" else 0
    (a, shift_a), (b, shift_b) = (_in_ranges(maps, unit, ranges, margin) for maps in (a, b))
    weights = _weights(size, sigma)
    mean_a, mean_b = _windows(a, weights), _windows(b, weights)
    variances = _windows((a * a).addcmul_(b, b), weights) - mean_a * mean_a - mean_b * mean_b
    covariances = _windows(a * b, weights) - mean_a * mean_b
    wide = torch.maximum(a.abs(), b.abs()).amax(dim=MAP) > WIDE
    if wide.any():
        variances[wide], covariances[wide] = _moments(a[wide], b[wide], mean_a[wide], mean_b[wide], weights)
    if covariance == "sample":
        sample = size**2 / (size**2 - 1)
        variances, covariances = sample * variances, sample * covariances
    mean_a, mean_b = mean_a + shift_a, mean_b + shift_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a * mean_a + mean_b * mean_b + 0.01**2)
    return (luminance * (2 * covariances + 0.03**2) / (variances + 0.03**2)).mean(dim=MAP)


def _unit_and_range(a: Tensor, b: Tensor, span: Range | float) -> tuple[Tensor, Tensor]:
    """A size that maps are divided by at first, and L in units of it; B×1×1."""
    if not isinstance(span, str):
        return torch.full_like(a[:, :1, :1], span), torch.ones_like(a[:, :1, :1])
    maps = {"clean": a, "attacked": b, "both": torch.cat([a, b], dim=1)}[span]
    unit = maps.abs().amax(dim=MAP, keepdim=True)
    scaled = maps / unit
    return unit, scaled.amax(dim=MAP, keepdim=True) - scaled.amin(dim=MAP, keepdim=True)


def _weights(size: int, sigma: float | None) -> list[float]:
    """Of the pixels of a window's side; they sum to 1."""
    places = [place - size // 2 for place in range(size)]
    weights = [1.0 if sigma is None else math.exp(-(place**2) / (2 * sigma**2)) for place in places]
    return [weight / sum(weights) for weight in weights]


def _in_ranges(maps: Tensor, unit: Tensor, ranges: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Maps with a margin of zeros, in units of the data range: less their means, and these.

    Squares of what is left do not lose the digits that variances are made of. Values are cut off where their squares
    would not be finite; the similarity is 0 long before.
    """
    far = largest(maps.dtype)
    maps = F.pad((maps / unit).clamp(-far, far), (margin,) * 4)
    mean = maps.mean(dim=MAP, keepdim=True)
    return (maps - mean) / ranges, mean / ranges


def _windows(maps: Tensor, weights: list[float]) -> Tensor:
    """Weighted means over all windows inside, whose weights are products of those of rows and columns."""
    for dim in MAP:
        length = maps.shape[dim] - len(weights) + 1
        total = weights[0] * maps.narrow(dim, 0, length)
        for start, weight in enumerate(weights[1:], 1):
            total.add_(maps.narrow(dim, start, length), alpha=weight)
        maps = total
    return maps


def _moments(a: Tensor, b: Tensor, mean_a: Tensor, mean_b: Tensor, weights: list[float]) -> tuple[Tensor, Tensor]:
    """Sum of both variances, and covariance, in each window: from deviations, whose squares lose no digits."""
    variances, covariance = torch.zeros_like(mean_a), torch.zeros_like(mean_a)
    height, width = mean_a.shape[1:]
    for (row, down), (column, right) in itertools.product(enumerate(weights), repeat=2):
        there = (slice(None), slice(row, row + height), slice(column, column + width))
        from_a, from_b = a[there] - mean_a, b[there] - mean_b
        variances.add_(from_a * from_a + from_b * from_b, alpha=down * right)
        covariance.add_(from_a * from_b, alpha=down * right)
    return variances, covariance
