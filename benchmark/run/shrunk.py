"""Images made small, for what does not depend on their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.benchmark.data.absent import Absent
from attrobust.benchmark.data.base import Loaded, Split
from attrobust.types import SplitName

SIDE = 32
"""Height and width of small images, in pixels."""


def shrunk(data: Loaded) -> Loaded:
    """A dataset of larger images with every image made SIDE×SIDE pixels."""
    splits: dict[SplitName, Split] = {
        name: split if isinstance(split, Absent) else _Shrunk(split) for name, split in data.splits.items()
    }
    return replace(data, splits=splits, size=SIDE)


class _Shrunk(Split):
    """The images of a split, each pixel the mean of those it stands for; of masks it is set where one of them is."""

    def __init__(self, split: Split) -> None:
        self.labels, self._split = split.labels, split

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``."""
        return F.adaptive_avg_pool2d(self._split.pixels(indices).float(), SIDE).round().to(torch.uint8)

    @property
    def sha256(self) -> str:
        """That of the images as they are."""
        return self._split.sha256

    @property
    def has_masks(self) -> bool:
        """Whether the split has object masks."""
        return self._split.has_masks

    def masks(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.masks``."""
        return F.adaptive_max_pool2d(self._split.masks(indices).float(), SIDE) > 0
