"""Reductions: named ways to turn signed attributions with channels into one map."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Reduction = Literal["abs-sum", "sum", "abs-max"]


def reduce_map(maps: Tensor, how: Reduction) -> Tensor:
    """B×C×H×W attributions to B×H×W maps.

    Args:
        maps: signed attributions.
        how: ``abs-sum`` is ``Σ_c |a_c|``, ``sum`` is ``Σ_c a_c``, ``abs-max`` is ``max_c |a_c|``.
    """
    if how == "abs-sum":
        return maps.abs().sum(dim=1)
    if how == "sum":
        return maps.sum(dim=1)
    if how == "abs-max":
        return maps.abs().amax(dim=1)
    raise ValueError(f"reduction {how!r} is not one of abs-sum, sum, abs-max")
