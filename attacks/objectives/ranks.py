"""Scores of the order of a map's pixels, each exactly and as a smooth stand-in that a descent can follow.

A stand-in replaces the comparison of two values by a sigmoid of their difference over a temperature. The temperature
is a share of the map's standard deviation, so that a map's scale does not matter.
"""

from __future__ import annotations

import scipy.stats
import torch
from torch import Tensor

from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives.scores import centred, normalized
from attrobust.maps.ranks import sorted_ranks, top_mask
from attrobust.maps.seeds import derive_seed

COMPARISONS, FEWEST = 2**17, 32
"""How many pairs of a map's pixels are compared, about, and with how many others each of them at least."""
HALVINGS = 60
"""Of the interval in which the threshold of a soft top-k is looked for."""


def spearman(clean: Tensor) -> Objective:
    """Correlation of average ranks; exact."""
    goal = _rows(sorted_ranks(clean.flatten(1)))
    return lambda maps: (_rows(sorted_ranks(maps.flatten(1))) * goal).sum(dim=1)


def soft_spearman(clean: Tensor, temperature: float) -> Objective:
    """Correlation with the clean map's ranks of ranks that are sums of sigmoid comparisons.

    It stands in for Kendall's tau too. Both count pairs in the order of the clean map, Spearman's by how far these are
    apart there; followed on some of the pairs, tau itself is fitted to those and lowers the rest no further.
    """
    goal = _rows(sorted_ranks(clean.flatten(1))).to(clean.dtype)
    others = references(goal.shape[1])

    def correlation(maps: Tensor) -> Tensor:
        ranks = torch.sigmoid(_differences(standardized(maps), others) / temperature).mean(dim=2)
        return (_rows(ranks) * goal).sum(dim=1)

    return correlation


def kendall(clean: Tensor) -> Objective:
    """Kendall's tau-b; exact."""
    goals = clean.flatten(1).cpu().numpy()

    def tau(maps: Tensor) -> Tensor:
        rows = zip(goals, maps.detach().flatten(1).cpu().numpy(), strict=True)
        values = [scipy.stats.kendalltau(goal, row).statistic for goal, row in rows]
        return torch.tensor(values, dtype=torch.float64, device=maps.device)

    return tau


def topk(clean: Tensor, k: int) -> Objective:
    """Share of the k largest pixels that both maps have, earlier ones first among equals (arXiv 1710.10547); exact."""
    top = top_mask(clean.flatten(1), k)
    return lambda maps: (top & top_mask(maps.flatten(1), k)).sum(dim=1).double() / k


def soft_topk(clean: Tensor, k: int, temperature: float) -> Objective:
    """Share of a soft choice of k pixels that falls on the clean map's k largest.

    A pixel is chosen by ``sigmoid((s - threshold) / temperature)``, where the threshold is the one at which k are
    chosen in all. It moves with the map, so pixels just outside are pushed up as those just inside are pushed down.
    """
    top = top_mask(clean.flatten(1), k)

    def shared(maps: Tensor) -> Tensor:
        return (soft_top_mask(standardized(maps), k, temperature) * top).sum(dim=1) / k

    return shared


def soft_top_mask(values: Tensor, k: int, temperature: float) -> Tensor:
    """Numbers between 0 and 1 that sum to k, B×D: ``sigmoid((v - threshold) / temperature)``, differentiable."""
    fixed = values.detach()
    # Beyond these the choice is all or none, as near as the number type can tell.
    reach = temperature * (values.shape[1] + 1)
    low, high = fixed.amin(dim=1, keepdim=True) - reach, fixed.amax(dim=1, keepdim=True) + reach
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = torch.sigmoid((fixed - middle) / temperature).sum(dim=1, keepdim=True) > k
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    threshold = (low + high) / 2
    # The threshold moves with the values by the mean of their moves, weighted by how undecided each pixel is.
    chosen = torch.sigmoid((fixed - threshold) / temperature)
    undecided = chosen * (1 - chosen)
    weights = undecided / undecided.sum(dim=1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    move = (weights * (values - fixed)).sum(dim=1, keepdim=True)
    return torch.sigmoid((values - threshold - move) / temperature)


def standardized(maps: Tensor) -> Tensor:
    """Values in units of their standard deviation, with mean 0, B×D; NaN where a map is constant."""
    values = normalized(centred(maps), "l2").flatten(1)
    size: float = values.shape[1] ** 0.5
    return values * size


def references(pixels: int) -> Tensor:
    """Pixels that all are compared with, int64: all of them, or as many, drawn once and for all, as keep it quick."""
    count = max(FEWEST, COMPARISONS // pixels)
    if count >= pixels:
        return torch.arange(pixels)
    generator = torch.Generator().manual_seed(derive_seed("references", pixels))
    return torch.randperm(pixels, generator=generator)[:count]


def _differences(values: Tensor, others: Tensor) -> Tensor:
    """Of every pixel to some others, B×D×N."""
    return values[:, :, None] - values[:, None, others.to(values.device)]


def _rows(values: Tensor) -> Tensor:
    """Rows with mean 0 and length 1; NaN where constant."""
    values = values - values.mean(dim=1, keepdim=True)
    length: Tensor = values.norm(dim=1, keepdim=True)
    return values / length
