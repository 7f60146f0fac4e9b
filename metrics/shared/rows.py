"""Rows of values, B×D, brought to a common scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "sum", "max"]
SMALL, LARGE = 1e-120, 1e120
"""Norms between which squares and products of values can be told from zero and from infinity."""
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
    rows, size = with_norm(rows, by)
    return rows / size


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two rows, float64[B]; NaN where one is constant."""
    return cosine(_centred(a), _centred(b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """``⟨a, b⟩ / (‖a‖ ‖b‖)`` of two rows, float64[B]; NaN where one is zero everywhere."""
    (a, size_a), (b, size_b) = with_norm(a, "l2"), with_norm(b, "l2")
    found: Tensor = (a * b).sum(dim=1) / size_a.flatten() / size_b.flatten()
    return found.clamp(-1.0, 1.0)


def _centred(rows: Tensor) -> Tensor:
    """Times a power of two, less their mean."""
    rows, _ = with_norm(rows, "l2")
    # First by a value, that constant rows become zero to the last bit.
    rows = rows - rows[:, :1]
    return rows.sub_(rows.mean(dim=1, keepdim=True))


def with_norm(rows: Tensor, by: Norm) -> tuple[Tensor, Tensor]:
    """Rows and their norms, B×1; times a power of two, which changes no digit, where squares would leave the floats."""
    size = _norm(rows, by)
    if not ((size > SMALL) & (size < LARGE)).all():
        exponent = torch.frexp(_norm(rows, "max")).exponent
        # 2**1000 is enough for the smallest float, and still one itself.
        rows = torch.ldexp(rows, -exponent.clamp_min(-1000))
        size = _norm(rows, by)
    return rows, size


def _norm(rows: Tensor, by: Norm) -> Tensor:
    if by == "l2":
        length: Tensor = rows.norm(dim=1, keepdim=True)
        return length
    return rows.abs().amax(dim=1, keepdim=True) if by == "max" else rows.abs().sum(dim=1, keepdim=True)


def is_constant(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are equal."""
    return rows.amax(dim=1) == rows.amin(dim=1)


def is_finite(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are finite."""
    # A finite sum is of finite values and found ten times as fast as they are looked at; that of huge ones is not.
    finite = rows.sum(dim=1).isfinite()
    return finite if finite.all() else rows.isfinite().all(dim=1)
