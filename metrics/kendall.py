"""Kendall's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.ranks import ascending, run_starts, tied_pairs
from metrics import register
from metrics.base import Similarity

BITS = 6
RADIX = 2**BITS
"""Into so many parts an order is split at a time, and of so many neighbours all pairs are compared."""


@register("kendall")
@dataclass(frozen=True, kw_only=True)
class Kendall(Similarity):
    """Tau-b over all pixels, ``(P - Q) / √((P + Q + X)(P + Q + Y))``; NaN where a map is constant.

    P pairs of pixels are in the same order in both maps, Q in opposite orders, X are tied in the first map only and Y
    in the second only (Kendall, Biometrika 33(3), 1945). Exact, in O(n log n).
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """``Kendall tau-b``."""
        return "Kendall tau-b"

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """See ``Similarity.compare``."""
        by_a = ascending(a)
        b = b.gather(1, by_a)
        by_b = ascending(b)
        starts_a, starts_b = run_starts(a.gather(1, by_a)), run_starts(b.gather(1, by_b))
        pairs = a.shape[1] * (a.shape[1] - 1) // 2
        if starts_a.all() and starts_b.all():
            return 1 - 2 * inversions(by_b).double() / pairs if pairs else a.new_full((len(a),), torch.nan)
        # Places in the order of a, those of equal values the same, in the order of b, and in that of a where b is tied.
        place = (starts_a.cumsum(dim=1) - 1).gather(1, by_b)
        key = starts_b.cumsum(dim=1) * a.shape[1] + place
        order = ascending(key)
        place, both = place.gather(1, order), tied_pairs(run_starts(key.gather(1, order)))
        stable = ascending(place * a.shape[1] + torch.arange(a.shape[1], device=a.device))
        tied_a, tied_b = tied_pairs(starts_a), tied_pairs(starts_b)
        excess = pairs - tied_a - tied_b + both - 2 * inversions(stable)
        return (excess / (pairs - tied_a).double().sqrt() / (pairs - tied_b).double().sqrt()).clamp(-1.0, 1.0)


def inversions(order: Tensor) -> Tensor:
    """Pairs that stand in descending order, in each of some permutations of 0 to N - 1; B×N to int64[B].

    Numbers are split by their leading digits, of base 64, then those that share them by the next digit, and so on; at
    each digit, pairs are counted that differ in it for the first time. It is a radix sort that counts.
    """
    count, size = order.shape
    digits = max(1, -(-(size - 1).bit_length() // BITS))
    # Whole groups: what is added at the end is in order.
    whole = RADIX ** (digits - 1)
    padded = -(-size // whole) * whole
    order = torch.cat([order, torch.arange(size, padded, device=order.device).expand(count, -1)], dim=1)
    total = torch.zeros(count, dtype=torch.int64, device=order.device)
    for digit in reversed(range(digits)):
        length = min(RADIX ** (digit + 1), padded)
        found = _descents(((order >> BITS * digit) % RADIX).to(torch.uint8).view(-1, length))
        total += found.view(count, -1).sum(dim=1)
        if digit:
            leading = order >> BITS * digit
            small = leading.to(torch.int16) if padded >> BITS * digit < 2**15 else leading
            order = order.gather(1, ascending(small, stable=True))
    return total


def _descents(labels: Tensor) -> Tensor:
    """Pairs i < j with ``labels[i] > labels[j]`` in each row; uint8 G×N, below 64, to int64[G]."""
    groups, length = labels.shape
    side = min(RADIX, length)
    blocks = labels.view(groups, length // side, side)
    # One block is a column, so that all of them are compared at a time.
    columns = blocks.flatten(0, 1).T.contiguous()
    near = torch.zeros_like(columns)
    for apart in range(1, side):
        near[:-apart] += columns[:-apart] > columns[apart:]
    total = near.view(side, groups, -1).sum(dim=(0, 2))
    if length == side:
        return total
    # Across blocks: how often each label occurs in a block, and how many larger ones there are in all before it.
    first = torch.arange(0, labels.numel(), side, device=labels.device)[:, None]
    tally = torch.bincount((blocks.flatten(0, 1) + first).flatten(), minlength=groups * length)
    tally = tally.view(groups, -1, RADIX)
    before = tally.cumsum(dim=1) - tally
    larger = before.flip(2).cumsum(dim=2).flip(2) - before
    return total + (tally * larger).sum(dim=(1, 2))
