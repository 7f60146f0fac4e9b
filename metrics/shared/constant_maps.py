"""Correlation of a map with another one that may be constant."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attrobust.maps.rows import is_constant, is_finite


def correlation_with(known: Tensor, other: Tensor, correlation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Correlation of maps with others, float64[B]; 0 where only the other one is constant, since nothing of it is left.

    Args:
        known: B×D; NaN where one is constant or not finite.
        other: B×D; NaN where one is not finite.
        correlation: of two maps, which is NaN where either is constant.
    """
    usable = is_finite(known) & is_finite(other)
    known, other = (maps.where(usable[:, None], 0.0).double() for maps in (known, other))
    values = correlation(known, other)
    return values.masked_fill(is_constant(other), 0.0).masked_fill(is_constant(known) | ~usable, float("nan"))
