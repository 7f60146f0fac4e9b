"""Explainers that take very many passes a map, and which of their settings to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attrobust.benchmark.run.costs import REPEATED
from attrobust.explainers.base import Explainer

MANY = 1000
"""Passes of one map from which on a user is told: a gradient takes two, and IG of 32 steps 64."""
SIDE = 32
"""Of images that the defaults of settings in pixels are made for."""
IN_PIXELS = ("window", "stride", "size")
"""Settings that are lengths in the image: larger ones take fewer passes, and the map is coarser."""


def advice(explainer: Explainer, side: int, passes: Callable[[Explainer], float | None]) -> str:
    """Which settings take fewer passes a map, in words; empty where none is known.

    Args:
        explainer: with many.
        side: of the images, in pixels.
        passes: of a map of an explainer; None where it does not work.
    """
    factor = max(2, side // SIDE)
    lengths = {name: factor * value for name in IN_PIXELS if isinstance(value := getattr(explainer, name, None), int)}
    if lengths and (fewer := passes(replace(explainer, **lengths))):
        return f"with {','.join(f'{name}={value}' for name, value in lengths.items())} it takes {fewer:,.0f}"
    counts = [name for name in REPEATED if isinstance(getattr(explainer, name, None), int)]
    return f"a smaller {counts[0]} takes fewer" if counts else ""
