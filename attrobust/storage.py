"""Whether the values of a tensor are plain numbers in memory, so that it can be computed with like any other."""

from __future__ import annotations

import torch
from torch import Tensor


def type_name(dtype: torch.dtype) -> str:
    """A type of numbers in a word, e.g. ``float32``."""
    return str(dtype).removeprefix("torch.")


def not_in_memory(x: Tensor) -> str:
    """What a tensor is whose values are not all there as plain numbers, in words; empty for ordinary ones."""
    if x.is_meta:
        return "on the device meta, where there are none"
    if x.is_nested:
        return "nested"
    if x.layout != torch.strided:
        return f"stored as {str(x.layout).removeprefix('torch.')}"
    return "quantised" if x.is_quantized else ""


def check_in_memory(x: Tensor, what: str) -> None:
    """Raise ValueError unless a tensor is an ordinary one; ``what`` names it."""
    if problem := not_in_memory(x):
        raise ValueError(f"{what} must be an ordinary tensor, with all its values in memory, and is {problem}")


def check_real(x: Tensor, what: str) -> None:
    """Raise ValueError unless a tensor is an ordinary one of real numbers, of which whole ones are some."""
    check_in_memory(x, what)
    if x.is_complex():
        raise ValueError(f"{what} must be real numbers, not {x.dtype}")


def check_floats(x: Tensor, what: str) -> None:
    """Raise ValueError unless a tensor is an ordinary one of floats."""
    check_in_memory(x, what)
    if not x.is_floating_point():
        raise ValueError(f"{what} must be floats, not {x.dtype}")
