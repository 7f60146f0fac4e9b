"""Ranks of the values of a row, and which of them are largest."""

from __future__ import annotations

import torch
from torch import Tensor


def sorted_ranks(values: Tensor) -> Tensor:
    """Ranks of each row, 1 for the smallest, ties sharing the mean of their places; float64 B×D, on the same device.

    From one sort: the places of a value are those between its first and its last occurrence.
    """
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values, side="left")
    up_to = torch.searchsorted(ordered, values, side="right")
    return (below + up_to + 1).double() / 2


def top_mask(values: Tensor, k: int) -> Tensor:
    """bool B×D, exactly k True in each row: the largest values, earlier ones first among equals."""
    order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, value=True)
