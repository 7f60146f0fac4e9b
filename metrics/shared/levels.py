"""Levels of removal: rising percentages of an image's pixels, written ``10/30/50``."""

from __future__ import annotations

from itertools import pairwise

from attrobust.numbers import parse_number
from attrobust.types import Amount


def percentages(levels: str) -> list[float]:
    """The levels in percent; raises ValueError unless they are numbers between 0 and 100 that rise."""
    try:
        found = [parse_number(part) for part in levels.split("/")]
    except ValueError:
        found = [0.0]
    if not all(low < high for low, high in pairwise([0.0, *found, 100.0])):
        raise ValueError(f"levels={levels} must be rising percentages between 0 and 100, such as 10/30/50")
    return found


def counts(levels: str, pixels: int) -> list[int]:
    """How many of an image's pixels each level removes."""
    return [Amount(percent, percent=True).of(pixels) for percent in percentages(levels)]


def check_counts(levels: str, height: int, width: int) -> None:
    """Raise ValueError where two levels remove equally many pixels of an image, or one removes all of them."""
    removed = [*counts(levels, height * width), height * width]
    if not all(low < high for low, high in pairwise(removed)):
        pixels = f"of {height}×{width} pixels"
        raise ValueError(f"levels={levels}: {pixels} every level must remove a number of its own, and not all")
