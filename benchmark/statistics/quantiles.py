"""Quantiles of values that are ordered already, which ``numpy.quantile`` would order again."""

from __future__ import annotations

import numpy as np

from attrobust.arrays import Floats


def quantile(ordered: Floats, at: Floats) -> Floats:
    """Linear quantiles of ordered values along the last axis, one place for each.

    Args:
        ordered: …×N.
        at: …, from 0 to 1.
    """
    place = at * (ordered.shape[-1] - 1)
    floor = np.floor(place).astype(np.int64)
    below = np.take_along_axis(ordered, floor[..., None], axis=-1)[..., 0]
    above = np.take_along_axis(ordered, np.ceil(place).astype(np.int64)[..., None], axis=-1)[..., 0]
    result: Floats = below + (place - floor) * (above - below)
    return result
