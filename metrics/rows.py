"""Rows of values, B×D, brought to a common scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "sum", "max"]
CHUNK = 2**16
"""Values that ``in_parts`` takes at a time, about."""


def in_parts(compare: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """What is computed of some images after others, so that all of it stays small and in the cache.

    Args:
        compare: of maps B×... to numbers, one for each image, which depend on no other.
        a, b: maps of the same shape, B×....
    """
    if not len(a):
        return a.new_zeros(0)
    rows = max(1, CHUNK * len(a) // a.numel())
    parts = zip(torch.split(a, rows), torch.split(b, rows), strict=True)
    return torch.cat([compare(*part) for part in parts])


def scaled(rows: Tensor, by: Norm) -> Tensor:
    """Divided by their own norm, ``‖r‖₂``, ``Σ|r|`` or ``max|r|``, however large or small; a zero row becomes NaN."""
    rows = rows / rows.abs().amax(dim=1, keepdim=True)
    if by == "max":
        return rows
    size: Tensor = rows.norm(dim=1, keepdim=True) if by == "l2" else rows.abs().sum(dim=1, keepdim=True)
    return rows.div_(size)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two rows, float64[B]; NaN where one is constant."""
    return cosine(centred(a), centred(b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """``⟨a, b⟩ / (‖a‖ ‖b‖)`` of two rows, float64[B]; NaN where one is zero everywhere."""
    a, b = scaled(a, "max"), scaled(b, "max")
    found: Tensor = (a * b).sum(dim=1) / a.norm(dim=1) / b.norm(dim=1)
    return found.clamp(-1.0, 1.0)


def centred(rows: Tensor) -> Tensor:
    """Less their mean, at a scale at which no sum overflows; a constant row becomes zero or NaN."""
    rows = scaled(rows, "max")
    return rows.sub_(rows.mean(dim=1, keepdim=True))


def is_constant(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are equal."""
    return rows.amax(dim=1) == rows.amin(dim=1)


def is_finite(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are finite."""
    # A finite sum is of finite values and found ten times as fast as they are looked at; that of huge ones is not.
    finite = rows.sum(dim=1).isfinite()
    return finite if finite.all() else rows.isfinite().all(dim=1)
