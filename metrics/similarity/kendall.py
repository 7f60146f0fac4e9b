"""Kendall's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.maps.ranks import all_true, ascending, order_and_runs, run_starts, sorted_rows, tied_pairs
from attrobust.metrics import register
from attrobust.metrics.base import Similarity

BITS = 6
RADIX = 2**BITS
"""Base of the radix sort, and size of the blocks in which all pairs are compared directly."""
TABLE = 4
"""Largest contingency table, in cells per pixel, for which counting in the table is faster than sorting."""


@register("kendall")
@dataclass(frozen=True, kw_only=True)
class Kendall(Similarity):
    """Kendall's tau-b over all pixels, ``(P - Q) / √((P + Q + X)(P + Q + Y))``; NaN where a map is constant.

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
        by_a, starts_a = order_and_runs(a)
        by_b, starts_b = order_and_runs(b.gather(1, by_a))
        pairs = a.shape[1] * (a.shape[1] - 1) // 2
        if all_true(starts_a) and all_true(starts_b):
            tied_a = tied_b = both = torch.zeros_like(by_a[:, 0])
            opposite = inversions(by_b)
        else:
            tied_a, tied_b = tied_pairs(starts_a), tied_pairs(starts_b)
            both, opposite = _ties_and_inversions(starts_a.cumsum(dim=1).gather(1, by_b), starts_b.cumsum(dim=1))
        excess = pairs - tied_a - tied_b + both - 2 * opposite
        return (excess / (pairs - tied_a).double().sqrt() / (pairs - tied_b).double().sqrt()).clamp(-1.0, 1.0)


def _ties_and_inversions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Number of pairs tied in both rows, and of pairs in opposite orders, int64[B].

    Args:
        a, b: dense ranks of each row's values, from 1 on, int64 B×N.
    """
    levels_a, levels_b = int(a.amax()) + 1, int(b.amax()) + 1
    if levels_a * levels_b <= TABLE * a.shape[1]:
        return _of_table(_table(a, b, levels_a, levels_b))
    bits = a.shape[1].bit_length()
    # In the order of b, and in that of a where b is tied.
    key = sorted_rows((b << bits) + a)
    both = tied_pairs(run_starts(key))
    # A permutation that has equal ones in the order they stand in.
    place, number = key & ((1 << bits) - 1), torch.arange(a.shape[1], device=a.device)
    return both, inversions(sorted_rows((place << bits) + number) & ((1 << bits) - 1))


def _table(a: Tensor, b: Tensor, levels_a: int, levels_b: int) -> Tensor:
    """Contingency table of the ranks of b and a, int64 B×``levels_b``×``levels_a``."""
    row = torch.arange(len(a), device=a.device)[:, None]
    cell = (row * levels_b + b) * levels_a + a
    return torch.bincount(cell.flatten(), minlength=len(a) * levels_b * levels_a).view(len(a), levels_b, levels_a)


def _of_table(table: Tensor) -> tuple[Tensor, Tensor]:
    """The result of ``_ties_and_inversions`` from a contingency table."""
    smaller_a = table.cumsum(dim=2).sub_(table)
    larger_b = smaller_a.sum(dim=1, keepdim=True) - smaller_a.cumsum(dim=1)
    both = table * (table - 1) // 2
    return both.sum(dim=(1, 2)), larger_b.mul_(table).sum(dim=(1, 2))


def inversions(order: Tensor) -> Tensor:
    """Number of inversions of each permutation of 0 to N - 1; B×N to int64[B].

    A radix sort that counts: numbers are grouped by their leading digit in base 64, each group by the next digit, and
    so on; at each digit the inversions are counted of pairs that differ in it for the first time.
    """
    count, size = order.shape
    digits = max(1, -(-(size - 1).bit_length() // BITS))
    # Padded to whole groups; the numbers appended are in order and add no inversions.
    whole = RADIX ** max(1, digits - 1)
    padded = -(-size // whole) * whole
    order = torch.cat([order, torch.arange(size, padded, device=order.device).expand(count, -1)], dim=1)
    total = torch.zeros(count, dtype=torch.int64, device=order.device)
    for digit in reversed(range(digits)):
        leading = order >> BITS * digit
        found = _descents((leading.to(torch.uint8) & (RADIX - 1)).view(-1, min(RADIX ** (digit + 1), padded)))
        total += found.view(count, -1).sum(dim=1)
        if digit:
            small = leading.to(torch.int16) if padded >> BITS * digit < 2**15 else leading
            order = order.gather(1, ascending(small, stable=True))
    return total


def _descents(labels: Tensor) -> Tensor:
    """Number of pairs i < j with ``labels[i] > labels[j]`` in each row, int64[G].

    Args:
        labels: uint8 G×N, below 64, N a multiple of 64.
    """
    groups, length = labels.shape
    blocks = labels.view(-1, RADIX)
    within = _within_blocks(blocks).view(groups, -1).sum(dim=1)
    if length == RADIX:
        return within
    # Across blocks: counts of each label per block, largest label first, and of larger labels in the blocks before.
    last = torch.arange(RADIX - 1, labels.numel(), RADIX, dtype=torch.int32, device=labels.device)[:, None]
    tally = torch.bincount((last - blocks).flatten(), minlength=labels.numel())
    tally = tally.to(torch.int32).view(groups, -1, RADIX)
    before = tally.cumsum(dim=1, dtype=torch.int32).sub_(tally)
    larger = before.cumsum(dim=2, dtype=torch.int32).sub_(before)
    return within + larger.mul_(tally).sum(dim=(1, 2))


def _within_blocks(blocks: Tensor) -> Tensor:
    """Number of pairs in descending order in each row of 64 labels, uint8 N×64 to int64[N].

    All values of one half are compared with all of the other half, and so on within each half.
    """
    count = len(blocks)
    # A block is a column of bytes; eight columns are one int64, so that one addition adds eight sums, of 63 at most.
    columns = blocks.new_zeros(RADIX, count + -count % 8)
    columns[:, :count] = blocks.T
    sums = torch.zeros(RADIX // 2, columns.shape[1] // 8, dtype=torch.int64, device=blocks.device)
    half = RADIX // 2
    while half:
        first, second = columns.view(-1, 2, half, columns.shape[1]).unbind(dim=1)
        descending = first[:, :, None] > second[:, None]
        sums += descending.view(torch.int64).sum(dim=1).flatten(0, 1)
        half //= 2
    return sums.view(torch.uint8).sum(dim=0)[:count]
