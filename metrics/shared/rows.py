"""Norms, cosine and correlation of rows, B×D, for values of any scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "sum", "max"]
SMALL, LARGE = 1e-120, 1e120
"""Range of norms in which squares and products of values neither underflow nor overflow."""
CHUNK = 2**16
"""About how many values ``in_parts`` takes at a time."""


def in_parts(compare: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Apply a function to a few images at a time, so that intermediate results stay in the cache.

    Args:
        compare: from maps b×... to b numbers, each of which depends on its own image alone.
        a, b: maps of the same shape, B×....
    """
    if not len(a):
        return a.new_zeros(0)
    rows = max(1, CHUNK * len(a) // a.numel())
    parts = zip(torch.split(a, rows), torch.split(b, rows), strict=True)
    return torch.cat([compare(*part) for part in parts])


def scaled(rows: Tensor, by: Norm) -> Tensor:
    """Rows divided by their norm, ``‖r‖₂``, ``Σ|r|`` or ``max|r|``, without overflow; a zero row becomes NaN."""
    rows, size = with_norm(rows, by)
    return rows / size


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two rows, float64[B]; NaN where one is constant."""
    return cosine(_centred(a), _centred(b))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """``⟨a, b⟩ / (‖a‖ ‖b‖)`` of two rows, float64[B]; NaN where one is zero everywhere."""
    (a, size_a), (b, size_b) = with_norm(a, "l2"), with_norm(b, "l2")
    cosines: Tensor = (a * b).sum(dim=1) / size_a.flatten() / size_b.flatten()
    return cosines.clamp(-1.0, 1.0)


def _centred(rows: Tensor) -> Tensor:
    """Rows minus their mean, scaled by a power of two."""
    rows, _ = with_norm(rows, "l2")
    # One value is subtracted first, so that constant rows become exactly zero.
    rows = rows - rows[:, :1]
    return rows.sub_(rows.mean(dim=1, keepdim=True))


def with_norm(rows: Tensor, by: Norm) -> tuple[Tensor, Tensor]:
    """Rows and their norms, B×1; scaled by a power of two, which is exact, where squares would over- or underflow."""
    size = _norm(rows, by)
    if not ((size > SMALL) & (size < LARGE)).all():
        exponent = torch.frexp(_norm(rows, "max")).exponent
        # 2**1000 is enough for the smallest float and does not overflow itself.
        rows = torch.ldexp(rows, -exponent.clamp_min(-1000))
        size = _norm(rows, by)
    return rows, size


def _norm(rows: Tensor, by: Norm) -> Tensor:
    if by == "l2":
        length: Tensor = rows.norm(dim=1, keepdim=True)
        return length
    return rows.abs().amax(dim=1, keepdim=True) if by == "max" else rows.abs().sum(dim=1, keepdim=True)


def is_constant(rows: Tensor) -> Tensor:
    """Whether all values of the row are equal, bool[B]."""
    return rows.amax(dim=1) == rows.amin(dim=1)


def is_finite(rows: Tensor) -> Tensor:
    """Whether all values of the row are finite, bool[B]."""
    # A finite sum implies finite values and takes a tenth of the time; sums of huge finite values may overflow.
    finite = rows.sum(dim=1).isfinite()
    return finite if finite.all() else rows.isfinite().all(dim=1)
