"""A split of a plug-in whose images are the same and of the right kind whenever they are read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor
from tqdm import tqdm

from attrobust.benchmark.data.base import Split, check_maps, check_shape, in_parts
from attrobust.process import seeded
from attrobust.types import UsageError


class FixedSplit(Split):
    """Holds every image, mask and gaze map of a split against what it was when all of the split was first read.

    What is handed out are copies. All methods raise UsageError for what is of another kind, or not what it was.

    Args:
        inner: the split; its labels are copied.
        shape: C, H and W of every image.
        name: of dataset and split, for errors.
    """

    def __init__(self, inner: Split, shape: tuple[int, int, int], name: str) -> None:
        self.labels = inner.labels.clone()
        self._inner, self._shape, self._name = inner, shape, name

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``."""
        return self._held("images", indices, self._inner.pixels)

    @property
    def has_gaze(self) -> bool:
        """Whether the split has gaze maps."""
        return self._inner.has_gaze

    def gaze(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.gaze``."""
        return self._held("gaze", indices, self._inner.gaze)

    @property
    def has_masks(self) -> bool:
        """Whether the split has object masks."""
        return self._inner.has_masks

    def masks(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.masks``."""
        return self._held("masks", indices, self._inner.masks)

    @functools.cached_property
    def sha256(self) -> str:
        """The split's own hash, asked for when all of it has been read."""
        with seeded(0):
            digest = self._inner.sha256 if self._known else ""
        if not isinstance(digest, str) or not digest:
            raise UsageError(f"{self._name}: sha256 must be a text that changes with images, labels and their order")
        return digest

    def image_hashes(self) -> list[bytes]:
        """See ``Split.image_hashes``."""
        return self._known["images"]

    @functools.cached_property
    def _known(self) -> dict[str, list[bytes]]:
        """Hashes of all images, masks and gaze maps, which are checked as they are read."""
        found: dict[str, list[bytes]] = {"images": [], "masks": [], "gaze": []}
        with seeded(0):
            for indices in tqdm(in_parts(len(self)), desc=f"read {self._name}", leave=False, disable=None):
                images = self._inner.pixels(indices)
                check_shape(images, self._shape, self._name)
                if len(images) != len(indices):
                    raise UsageError(f"{self._name}: pixels gave {len(images)} images for {len(indices)} positions")
                check_maps(self._inner, indices, self._shape[1], self._name)
                found["images"] += _hashes(images)
                found["masks"] += _hashes(self._inner.masks(indices)) if self.has_masks else []
                found["gaze"] += _hashes(self._inner.gaze(indices)) if self.has_gaze else []
        return found

    def _held(self, what: str, indices: Sequence[int], read: Callable[[Sequence[int]], Tensor]) -> Tensor:
        known = self._known[what]
        with seeded(0):
            values = read(indices).clone()
        if [known[int(index)] for index in indices] != list(_hashes(values)):
            raise UsageError(f"{self._name}: its {what} changed since the run started; run the same command again")
        return values


def _hashes(values: Tensor) -> Iterator[bytes]:
    """A hash of every image or map, of its type and shape too."""
    for value in values:
        kind = f"{value.dtype} {tuple(value.shape)}".encode()
        yield hashlib.sha256(kind + value.contiguous().numpy().tobytes()).digest()
