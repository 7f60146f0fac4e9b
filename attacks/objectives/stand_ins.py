"""Differentiable surrogates of scores of the ranks of a map's pixels.

A surrogate replaces the comparison of two values by a sigmoid of their difference divided by a temperature. The
temperature is a share of the map's standard deviation, so that a map's scale has no effect.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from attrobust.attacks.engine.feasible import Objective
from attrobust.maps.ranks import sorted_ranks, top_mask
from attrobust.maps.rows import centred, scaled
from attrobust.maps.seeds import derive_seed

COMPARISONS, FEWEST = 2**17, 32
"""About how many pairs of a map's pixels are compared, and the least number of pixels that each is compared with."""
CACHED = 2**17
"""Comparisons that are made at a time on a CPU."""
HALVINGS = 60
"""Bisections that find the threshold of a soft top-k."""


def soft_spearman(clean: Tensor, temperature: float) -> Objective:
    """Differentiable surrogate of Spearman's correlation: ranks are sums of sigmoid comparisons.

    It is the surrogate of Kendall's tau too. Both scores count concordant pairs, Spearman's weighted by their distance
    in rank. A surrogate of tau on a sample of pairs overfits to these pairs and does not lower tau on the others.
    """
    goal = scaled(centred(sorted_ranks(clean.flatten(1))), "l2").to(clean.dtype)
    others = references(goal.shape[1])

    def correlation(maps: Tensor) -> Tensor:
        ranks: Tensor = _SoftRanks.apply(standardized(maps) / temperature, others)
        return (scaled(centred(ranks), "l2") * goal).sum(dim=1)

    return correlation


def soft_topk(clean: Tensor, k: int, temperature: float) -> Objective:
    """Differentiable surrogate of the top-k intersection: share of a soft top-k mask on the clean map's top k.

    The mask is ``sigmoid((s - threshold) / temperature)`` with the threshold at which it sums to k. The threshold
    depends on the map, so descent raises pixels just below it as it lowers those just above.
    """
    top = top_mask(clean.flatten(1), k)

    def shared(maps: Tensor) -> Tensor:
        return (soft_top_mask(standardized(maps), k, temperature) * top).sum(dim=1) / k

    return shared


def soft_top_mask(values: Tensor, k: int, temperature: float) -> Tensor:
    """A differentiable mask that sums to k in each row, B×D: ``sigmoid((v - threshold) / temperature)``."""
    fixed = values.detach()
    # With thresholds at these ends the mask is all ones or all zeros up to rounding.
    slack = temperature * (values.shape[1] + 1)
    low, high = fixed.amin(dim=1, keepdim=True) - slack, fixed.amax(dim=1, keepdim=True) + slack
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = torch.sigmoid((fixed - middle) / temperature).sum(dim=1, keepdim=True) > k
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    threshold = (low + high) / 2
    # Derivative of the threshold with respect to the values (implicit function theorem): s (1 - s), normalised.
    chosen = torch.sigmoid((fixed - threshold) / temperature)
    undecided = chosen * (1 - chosen)
    weights = undecided / undecided.sum(dim=1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    move = (weights * (values - fixed)).sum(dim=1, keepdim=True)
    return torch.sigmoid((values - threshold - move) / temperature)


def standardized(maps: Tensor) -> Tensor:
    """Values minus their mean, divided by their standard deviation, B×D; NaN where a map is constant."""
    values = scaled(centred(maps.flatten(1)), "l2")
    size: float = values.shape[1] ** 0.5
    return values * size


def references(pixels: int) -> Tensor:
    """Pixels that every pixel is compared with, int64: all, or a fixed random sample that bounds the cost."""
    count = max(FEWEST, COMPARISONS // pixels)
    if count >= pixels:
        return torch.arange(pixels)
    generator = torch.Generator().manual_seed(derive_seed("references", pixels))
    return torch.randperm(pixels, generator=generator)[:count]


class _SoftRanks(Function):
    """Ranks as shares of the reference pixels r below each pixel, ``mean_r σ(v - v_r)``: B×D to the same.

    The comparisons, N to each pixel, are made of as many maps at a time as a processor's cache holds.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, others: Tensor) -> Tensor:
        others, ranks = others.to(values.device), torch.empty_like(values)
        slopes = values.new_empty((*values.shape, len(others)) if ctx.needs_input_grad[0] else (len(values), 0))
        for part, mean, slope in zip(*(_parts(rows, values, others) for rows in (values, ranks, slopes)), strict=True):
            comparisons = (part[:, :, None] - part[:, None, others]).sigmoid_()
            torch.mean(comparisons, dim=2, out=mean)
            if ctx.needs_input_grad[0]:
                torch.addcmul(comparisons, comparisons, comparisons, value=-1, out=slope)
        ctx.save_for_backward(slopes, others)
        return ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        slopes, others = ctx.saved_tensors
        derivative = gradient * slopes.sum(dim=2)
        derivative.index_add_(1, others, torch.bmm(gradient[:, None], slopes)[:, 0], alpha=-1)
        return derivative.div_(len(others)), None


def _parts(rows: Tensor, values: Tensor, others: Tensor) -> tuple[Tensor, ...]:
    """Rows in parts whose comparisons fit into a cache; on a GPU all at once."""
    whole = values.device.type != "cpu"
    count = len(rows) if whole else max(1, CACHED // (values.shape[1] * len(others)))
    parts: tuple[Tensor, ...] = rows.split(count)  # type: ignore[no-untyped-call]
    return parts
