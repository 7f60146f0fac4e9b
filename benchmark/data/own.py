"""Images of a plug-in's dataset, read so that neither side can change what the other one has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from attrobust.benchmark.data.base import Dataset, Loaded, Split
from attrobust.networks.copying import independent_copy
from attrobust.places import ours
from attrobust.process import seeded


def load_dataset(dataset: Dataset, root: Path | None) -> Loaded:
    """Read a dataset, see ``Dataset.load``; of a plug-in's only copies are handed out."""
    with seeded(0):
        data = independent_copy(dataset).load(root)
    if ours(type(dataset)):
        return data
    return replace(data, splits={name: OwnSplit(split) for name, split in data.splits.items()})


class OwnSplit(Split):
    """A split that hands out copies of another one's tensors.

    Args:
        split: of a plug-in.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self.labels = split.labels.clone()

    def __len__(self) -> int:
        return len(self._split)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``."""
        return _copied(lambda: self._split.pixels(indices))

    @property
    def sha256(self) -> str:
        """See ``Split.sha256``."""
        return self._split.sha256

    @property
    def has_gaze(self) -> bool:
        """See ``Split.has_gaze``."""
        return self._split.has_gaze

    def gaze(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.gaze``."""
        return _copied(lambda: self._split.gaze(indices))

    @property
    def has_masks(self) -> bool:
        """See ``Split.has_masks``."""
        return self._split.has_masks

    def masks(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.masks``."""
        return _copied(lambda: self._split.masks(indices))

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See ``Split.batch``."""
        with seeded(0):
            x, y = self._split.batch(indices)
            return x.clone(), y.clone()


def _copied(read: Callable[[], Tensor]) -> Tensor:
    with seeded(0):
        return read().clone()
