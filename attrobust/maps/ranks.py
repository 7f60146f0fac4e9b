"""Sorting, ranks, ties and top-k masks of the rows of a B×D tensor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def ascending(values: Tensor, *, stable: bool = False) -> Tensor:
    """Argsort of each row, int64 B×D; equal values keep their order if ``stable``.

    CPU tensors are sorted by NumPy, which uses vector instructions and is several times faster than torch there.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.detach().numpy(), axis=1, kind="stable" if stable else None))
    return values.argsort(dim=1, stable=stable)


def sorted_rows(values: Tensor) -> Tensor:
    """Each row in ascending order; by NumPy on the CPU, as in ``ascending``."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=1))
    return values.sort(dim=1).values


def order_and_runs(values: Tensor) -> tuple[Tensor, Tensor]:
    """Argsort of each row of floats, int64 B×D, and where a run of equal sorted values starts, bool B×D.

    On the CPU, each value and its position are packed into one int64 key, so that one sort replaces an argsort, which
    takes twice as long. The key drops the lowest bits of the value; where these decide the order, argsort is used.
    """
    values = values.detach()
    # NaN has no place among the keys; a sum finds it faster than isnan() of every value.
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
    """Sort keys, int64 B×D: a value's bits as an order-preserving integer whose lowest ``bits`` are its position."""
    # Adding 0.0 turns -0.0 into 0.0, so that both zeros get the same key.
    digits = (values.double() + 0.0).view(torch.int64)
    # The bits of negative floats are in reverse order: invert all but the sign.
    keys = (digits >> 63).bitwise_and_(2**63 - 1).bitwise_xor_(digits)
    return keys.bitwise_and_(-1 << bits).bitwise_or_(torch.arange(values.shape[1]))


def sorted_ranks(values: Tensor) -> Tensor:
    """Ranks of each row, 1 for the smallest; ties share their mean rank. float64 B×D on the same device."""
    order, starts = order_and_runs(values)
    places = torch.arange(1.0, values.shape[1] + 1, dtype=torch.float64, device=values.device).expand(values.shape)
    if not all_true(starts):
        first, length = runs(starts)
        places = (first + (length + 1) / 2).double().repeat_interleave(length).view(values.shape)
    return torch.empty_like(places).scatter_(1, order, places)


def run_starts(ordered: Tensor) -> Tensor:
    """bool B×D: whether a value of a sorted row differs from the one before it; True in the first column."""
    return F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)


def all_true(mask: Tensor) -> bool:
    """Whether all values of a bool tensor are True; ten times as fast as ``mask.all()`` on the CPU."""
    return bool(mask.view(torch.uint8).amin())


def runs(starts: Tensor) -> tuple[Tensor, Tensor]:
    """First column and length of every run of equal values, int64[number of runs], row after row.

    Args:
        starts: of sorted rows, see ``run_starts``.
    """
    first = starts.flatten().nonzero().flatten()
    length = F.pad(first, (0, 1), value=starts.numel()).diff()
    return first % starts.shape[1], length


def tied_pairs(starts: Tensor) -> Tensor:
    """Number of pairs of equal values in each row, int64[B]; ``starts`` as from ``run_starts``."""
    row = torch.arange(len(starts), device=starts.device)
    _, length = runs(starts)
    return torch.zeros_like(row).index_add_(0, row.repeat_interleave(starts.sum(dim=1)), length * (length - 1) // 2)


def top_mask(values: Tensor, k: int) -> Tensor:
    """The k largest values of each row, bool B×D with exactly k True; earlier ones first among equals."""
    values = values.detach().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    threshold = _kth_largest(values, k)
    above, at = values > threshold, values == threshold
    left = k - above.sum(dim=1, keepdim=True)
    if (at.sum(dim=1, keepdim=True) > left).any():
        at &= at.cumsum(dim=1) <= left
    return above | at


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest value of each row, B×1; by NumPy on the CPU, as in ``ascending``."""
    place = values.shape[1] - k
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place, None])
    return values.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
