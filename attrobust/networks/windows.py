"""Sizes of windows, as torch's functions take them."""

from __future__ import annotations

from collections.abc import Sequence


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """The sizes for rows and columns; one number stands for both."""
    sizes = [value] if isinstance(value, int) else [*value]
    return sizes[0], sizes[-1]
