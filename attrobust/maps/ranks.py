"""The order of the values of a row: ranks, ties, which are largest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def ascending(values: Tensor, *, stable: bool = False) -> Tensor:
    """Positions that sort each row, int64 B×D; equal values in the order they stand in if ``stable``, else in any.

    NumPy sorts on the CPU, where it uses vector instructions and is several times faster.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.detach().numpy(), axis=1, kind="stable" if stable else None))
    return values.argsort(dim=1, stable=stable)


def sorted_rows(values: Tensor) -> Tensor:
    """Each row in ascending order; see ``ascending`` for NumPy."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=1))
    return values.sort(dim=1).values


def order_and_runs(values: Tensor) -> tuple[Tensor, Tensor]:
    """Positions that sort each row of floats, int64 B×D, and where a value so sorted is not that before, bool B×D.

    On the CPU, numbers are sorted that begin with the digits of a value and end with its position, which is twice as
    fast as to sort positions. Where the digits left out make a difference, positions are sorted after all.
    """
    values = values.detach()
    # A sum is NaN where a value is, and quick.
    if values.device.type == "cpu" and not values.sum().isnan():
        bits = values.shape[1].bit_length()
        keys = sorted_rows(_digits_and_position(values, bits))
        order, starts = keys & ((1 << bits) - 1), run_starts(keys >> bits)
        if all_true(starts):
            return order, starts
        ordered = values.gather(1, order)
        if all_true(ordered[:, 1:] >= ordered[:, :-1]):
            return order, run_starts(ordered)
    order = ascending(values)
    return order, run_starts(values.gather(1, order))


def _digits_and_position(values: Tensor, bits: int) -> Tensor:
    """Int64 B×D in the order of the values: all but the last digits of each, and its position in as many bits."""
    # Zero has two signs and one place.
    digits = (values.double() + 0.0).view(torch.int64)
    # The more negative a float, the larger are its bits behind the sign.
    keys = (digits >> 63).bitwise_and_(2**63 - 1).bitwise_xor_(digits)
    return keys.bitwise_and_(-1 << bits).bitwise_or_(torch.arange(values.shape[1]))


def sorted_ranks(values: Tensor) -> Tensor:
    """Ranks of each row, 1 for the smallest, ties sharing the mean of their places; float64 B×D, on the same device."""
    order, starts = order_and_runs(values)
    places = torch.arange(1.0, values.shape[1] + 1, dtype=torch.float64, device=values.device).expand(values.shape)
    if not all_true(starts):
        first, length = runs(starts)
        places = (first + (length + 1) / 2).double().repeat_interleave(length).view(values.shape)
    return torch.empty_like(places).scatter_(1, order, places)


def run_starts(ordered: Tensor) -> Tensor:
    """bool B×D: the value of a sorted row is not that before it."""
    return F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)


def all_true(mask: Tensor) -> bool:
    """Whether all of some bools are True; ``mask.all()`` takes ten times as long on the CPU."""
    return bool(mask.view(torch.uint8).amin())


def runs(starts: Tensor) -> tuple[Tensor, Tensor]:
    """Of all runs of equal values, row after row: how many values of the row come before, and their length; int64."""
    first = starts.flatten().nonzero().flatten()
    length = F.pad(first, (0, 1), value=starts.numel()).diff()
    return first % starts.shape[1], length


def tied_pairs(starts: Tensor) -> Tensor:
    """Pairs of equal values in each row, int64[B]."""
    row = torch.arange(len(starts), device=starts.device)
    _, length = runs(starts)
    return torch.zeros_like(row).index_add_(0, row.repeat_interleave(starts.sum(dim=1)), length * (length - 1) // 2)


def top_mask(values: Tensor, k: int) -> Tensor:
    """bool B×D, exactly k True in each row: the largest values, earlier ones first among equals."""
    values = values.detach().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    threshold = _kth_largest(values, k)
    above, at = values > threshold, values == threshold
    left = k - above.sum(dim=1, keepdim=True)
    if (at.sum(dim=1, keepdim=True) > left).any():
        at &= at.cumsum(dim=1) <= left
    return above | at


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """B×1; see ``ascending`` for NumPy."""
    place = values.shape[1] - k
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place, None])
    return values.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
