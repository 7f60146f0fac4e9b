"""Rows of values, B×D, brought to a common scale or centre; what returns no bools is differentiable."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "sum", "max"]
"""``‖r‖₂``, ``Σ|r|`` or ``max|r|`` of a row r."""


def may_be(condition: Tensor) -> bool:
    """Whether any value of a bool tensor is True; taken for granted on a GPU.

    To look, the process would wait for everything that the GPU has yet to compute. It is for conditions that only say
    whether an exact computation can be spared.
    """
    return looking_waits(condition) or bool(condition.any())


def looking_waits(x: Tensor) -> bool:
    """Whether reading a value of a tensor waits for its device."""
    return x.device.type != "cpu"


def largest(dtype: torch.dtype) -> float:
    """A size that squares, and products of a few values, of which are far from infinity: 1e120 in float64."""
    size: float = torch.finfo(dtype).max ** 0.39
    return size


def with_norm(rows: Tensor, by: Norm) -> tuple[Tensor, Tensor]:
    """Rows and their norms, B×D and B×1; times a power of two where squares would overflow or vanish.

    A power of two changes no digit, and what is made of the ratio of rows and norms does not depend on it.
    """
    size, large = _norm(rows, by), largest(rows.dtype)
    if may_be(~((size > 1 / large) & (size < large))):
        exponent = torch.frexp(_norm(rows.detach(), "max")).exponent
        # The power is a float too, and enough for the smallest one.
        most = math.frexp(torch.finfo(rows.dtype).max)[1] - 24
        rows = rows * torch.ldexp(torch.ones_like(size), -exponent.clamp_min(-most))
        size = _norm(rows, by)
    return rows, size


def _norm(rows: Tensor, by: Norm) -> Tensor:
    if by == "l2":
        length: Tensor = rows.norm(dim=1, keepdim=True)
        return length
    return rows.abs().amax(dim=1, keepdim=True) if by == "max" else rows.abs().sum(dim=1, keepdim=True)


def scaled(rows: Tensor, by: Norm) -> Tensor:
    """Rows divided by their own norm, B×D, however large or small; NaN where a row is zero everywhere."""
    rows, size = with_norm(rows, by)
    return rows / size


def centred(rows: Tensor) -> Tensor:
    """Rows less their mean, B×D, times a power of two (see ``with_norm``); exactly zero where a row is constant."""
    rows, _ = with_norm(rows, "l2")
    # Less the first value, a constant row is zero to the last bit.
    rows = rows - rows[:, :1]
    return rows.sub_(rows.mean(dim=1, keepdim=True))


def is_constant(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are equal."""
    return rows.amax(dim=1) == rows.amin(dim=1)


def is_finite(rows: Tensor) -> Tensor:
    """bool[B]: all values of the row are finite."""
    # A finite sum is of finite values and found ten times as fast as they are looked at; that of huge ones is not.
    finite = rows.sum(dim=1).isfinite()
    return rows.isfinite().all(dim=1) if may_be(~finite) else finite
