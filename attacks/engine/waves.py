"""Random patterns of low spatial frequency: sums of few cosine waves."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_basis(count: int, length: int) -> Tensor:
    """The first ``count`` rows of the orthonormal discrete cosine transform of type II, float64[count, length]."""
    wave = torch.arange(count, dtype=torch.float64)[:, None]
    pixel = torch.arange(length, dtype=torch.float64)
    basis = math.sqrt(2 / length) * torch.cos(math.pi * wave * (2 * pixel + 1) / (2 * length))
    basis[0] = 1 / math.sqrt(length)
    return basis


def low_frequency(coefficients: Tensor, x: Tensor) -> Tensor:
    """The pattern of some coefficients of the cosine transform, all others zero, shaped like ``x``.

    Args:
        coefficients: B×C×down×across, the lowest frequencies along rows and columns.
        x: images, B×C×H×W; only shape, dtype and device matter.
    """
    down, across = (
        cosine_basis(count, length) for count, length in zip(coefficients.shape[2:], x.shape[2:], strict=True)
    )
    # On the CPU, since there are devices without float64.
    return (down.T @ coefficients.cpu().double() @ across).to(x)
