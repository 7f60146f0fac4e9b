"""Correlation of rows, and the ranks it is taken of."""

from __future__ import annotations

import scipy.stats
import torch
from torch import Tensor

from attrobust.ranks import sorted_ranks


def average_ranks(values: Tensor) -> Tensor:
    """Ranks of each row, 1 for the smallest, ties sharing the mean of their places; float64 B×D, on the same device.

    SciPy computes them on the CPU, where it is faster; ``sorted_ranks`` on every other device.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(scipy.stats.rankdata(values.numpy(), axis=1))
    return sorted_ranks(values)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two B×D tensors of ranks; NaN where a row is constant; float64[B]."""
    mean = (a.shape[1] + 1) / 2
    a, b = a - mean, b - mean
    dot = torch.linalg.vecdot
    cosine: Tensor = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    return cosine.clamp(-1.0, 1.0)


def unit(rows: Tensor) -> Tensor:
    """Rows scaled to l2 norm 1, safe from overflow and underflow; a zero row becomes NaN."""
    rows = rows / rows.abs().amax(dim=1, keepdim=True)
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length
