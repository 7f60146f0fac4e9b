"""Whether a network does better than guessing."""

from __future__ import annotations

from attrobust.benchmark.statistics.intervals import wilson
from attrobust.types import percent

MARGIN = 0.1
"""An accuracy that is surely below this share of the way from guessing to 1 is hardly better than guessing."""


def at_chance(hits: int, images: int, guessing: float) -> str:
    """Why an accuracy says that a network has learned nothing of use; empty where it does not.

    The 95 % interval decides: where it holds the rate of guessing, or lies below it, or ends before ``MARGIN`` of the
    way from there to 1.

    Args:
        hits, images: the network is right about so many of so many images.
        guessing: accuracy of the best guess that looks at no image.
    """
    low, high = wilson(hits, images)
    found, guess = f"accuracy {percent(hits / images)}", percent(guessing)
    if high < guessing:
        return f"{found} is worse than guessing ({guess})"
    if low <= guessing:
        return f"{found} cannot be told from guessing ({guess}) on {images} images"
    if high <= guessing + MARGIN * (1 - guessing):
        return f"{found} is hardly better than guessing ({guess})"
    return ""
