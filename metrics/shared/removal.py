"""Base class of ROAR, KAR and DiffROAR: removes pixels in the order of a map and retrains the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attrobust.maps.seeds import ImageStreams, derive_seed
from attrobust.metrics.shared.levels import check_counts, counts, percentages
from attrobust.metrics.shared.retraining import RetrainingContext, RetrainingMetric
from attrobust.naming.checks import at_least
from attrobust.types import SplitName

First = Literal["largest", "smallest"]
CHUNK = 1024
"""Number of images whose pixels are sorted at once."""


@dataclass(frozen=True, kw_only=True)
class RemovalMetric(RetrainingMetric, kind=True):
    """Removes a share of the pixels of every training, validation and test image and trains the same network again.

    A removed pixel gets the mean colour in all channels. Pixels of equal value are removed in the order of a random
    permutation, one for each image, whatever the map: from an image whose map is constant the same pixels are removed
    as by the random baseline. So they are where a map is not finite; a test image has then no score (NaN).

    Attributes:
        levels: shares of the pixels that are removed, in percent, rising, separated by ``/``.
        repeats: networks trained on the same images, with different initial weights and orders of the images.
    """

    levels: str = "10/30/50/70/90"
    repeats: int = 3

    def __post_init__(self) -> None:
        at_least(1, self, "repeats")
        percentages(self.levels)

    @property
    def trainings(self) -> int:
        """See ``RetrainingMetric.trainings``: two orders of removal are compared."""
        return 2 * self.repeats * len(self.shares)

    @property
    def shares(self) -> list[float]:
        """The levels as shares in (0, 1), rising."""
        return [percent / 100 for percent in percentages(self.levels)]

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where two levels remove equally many pixels, or one removes all of them."""
        check_counts(self.levels, height, width)

    def hits(self, context: RetrainingContext, maps: Callable[[SplitName], Tensor], first: First) -> Tensor:
        """Which changed test images the networks trained on changed images classify correctly.

        Args:
            bench: the metric's context.
            maps: N×H×W of every split, which decide the order of removal.
            first: the values that are removed first.

        Returns:
            float64 repeats×levels×N, 1 where the changed test image is classified correctly, else 0.
        """
        seeds = [derive_seed("retraining", context.seed, repeat) for repeat in range(self.repeats)]
        maps_of = {split: maps(split) for split in context.images}
        by_level = []
        for count in counts(self.levels, maps_of["test"][0].numel()):
            changed = {
                split: removed(images, maps_of[split], count, first, context.mean, context.seed, split)
                for split, images in context.images.items()
            }
            by_level.append(torch.stack([context.retrain(changed, seed) for seed in seeds]))
        return torch.stack(by_level, dim=1).double()

    def random_hits(self, context: RetrainingContext) -> Tensor:
        """See ``hits``, with pixels removed at random, as for constant maps."""
        return self.hits(context, lambda split: torch.zeros_like(context.images[split][:, 0]), "largest")

    def where_defined(self, scores: Tensor, context: RetrainingContext) -> Tensor:
        """Scores repeats×N with NaN for test images whose map is not finite."""
        return scores.masked_fill(~defined(context.maps("test")), float("nan"))


def removed(images: Tensor, maps: Tensor, count: int, first: First, mean: Tensor, seed: int, purpose: str) -> Tensor:
    """Images whose ``count`` pixels of largest or of smallest value are replaced by the mean colour.

    Args:
        images: N×C×H×W.
        maps: N×H×W.
        count: number of pixels to remove.
        first: the values that are removed first.
        mean: float[C].
        seed, purpose: of the random order of equal values.

    Returns:
        Tensor N×C×H×W, typed like ``images``.
    """
    colour = mean.to(images).view(1, -1, 1, 1)
    parts = []
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        values = usable(maps[rows]).flatten(1)
        draws = ImageStreams(seed, range(start, start + len(values)), f"removal {purpose}").uniform(values.double())
        mask = torch.zeros_like(values, dtype=torch.bool)
        mask.scatter_(1, removal_order(values, draws, first)[:, :count], value=True)
        parts.append(torch.where(mask.view(len(values), 1, *images.shape[2:]), colour, images[rows]))
    return torch.cat(parts)


def removal_order(values: Tensor, draws: Tensor, first: First) -> Tensor:
    """Positions in the order of removal, int64 B×D; equal values are in the order of ``draws``."""
    shuffled = draws.argsort(dim=1)
    by_value = values.gather(1, shuffled).argsort(dim=1, descending=first == "largest", stable=True)
    return shuffled.gather(1, by_value)


def usable(maps: Tensor) -> Tensor:
    """Maps, with zeros in place of those that have a value that is not finite."""
    return torch.where(defined(maps)[:, None, None], maps, torch.zeros_like(maps))


def defined(maps: Tensor) -> Tensor:
    """Whether every value of the map is finite, bool[N]."""
    return maps.flatten(1).isfinite().all(dim=1)


def area(differences: Tensor, shares: Sequence[float]) -> Tensor:
    """Trapezoidal area under differences over the share removed, from 0 to 1, at both of which the difference is 0.

    Args:
        differences: of two orders of removal, float64 repeats×levels×N.
        shares: of the levels, in (0, 1), rising.

    Returns:
        float64 repeats×N.
    """
    ends = torch.zeros_like(differences[:, :1])
    t = torch.tensor([0.0, *shares, 1.0], dtype=differences.dtype)
    return torch.trapezoid(torch.cat([ends, differences, ends], dim=1), t, dim=1)
