"""Unit vectors in l2, without underflow for very small gradients."""

from __future__ import annotations

import torch

PIXELS = (1, 2, 3)
"""Axes of one image in a batch."""


def unit(values: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Values divided by their l2 norm over ``dims``; zero vectors stay zero.

    Squares of values below 1e-19 underflow to 0 in float32, so values are divided by the largest of them first.
    """
    largest = values.abs().amax(dim=dims, keepdim=True)
    scaled = values / largest.clamp_min(torch.finfo(values.dtype).tiny)
    length = scaled.square().sum(dim=dims, keepdim=True).sqrt()
    return scaled / length.clamp_min(0.5)
