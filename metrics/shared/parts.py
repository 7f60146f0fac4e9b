"""Batches of maps in parts that stay small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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
