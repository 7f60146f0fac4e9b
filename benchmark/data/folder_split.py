"""Image files as a split: decoded on demand, and never other ones than their hash says."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from attrobust.benchmark.data.base import Split, in_parts
from attrobust.benchmark.data.decode import DecodeError, decode
from attrobust.benchmark.data.decoded import DecodedImages
from attrobust.benchmark.data.preparation import Preparation
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
CACHE_BYTES = 4 * 2**30
"""Of decoded images on disk, for each split."""


class FolderSplit(Split):
    """Image files, decoded on demand; decoded images are kept on disk, up to 4 GiB a split.

    A file is what it was when it was first read: later reads of other bytes raise UsageError. So images are never other
    ones than their hash says.

    Args:
        name: of the split, for messages.
        root: folder the hashed names are relative to.
        files: in the order of the split.
        labels: int64[N].
        preparation: scales and crops every image.
        depth: bits of the data in files of 16 bits that do not state it; None for all 16.
        looks: the file of the gaze map of every image; None where there are none.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        files: Sequence[Path],
        labels: Tensor,
        preparation: Preparation,
        depth: int | None = None,
        looks: Sequence[Path] | None = None,
    ) -> None:
        self.labels = labels
        self._name, self._root, self._files, self._looks = name, root, list(files), looks
        self._preparation, self._depth = preparation, depth
        self._decoded = DecodedImages((preparation.channels, preparation.size, preparation.size), CACHE_BYTES)
        self._sha256: dict[Path, str] = {}
        self._largest: dict[Path, int] = {}

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``; raises UsageError naming a file that does not decode or has changed."""
        images = {int(i): self._decoded.get(int(i)) for i in indices}
        missing = [i for i, image in images.items() if image is None]
        if missing:
            with ThreadPoolExecutor() as pool:
                images.update(zip(missing, pool.map(self._decode, missing), strict=True))
        found = (images[int(i)] for i in indices)
        return torch.stack([image for image in found if image is not None])

    @property
    def has_gaze(self) -> bool:
        """Whether the folder has gaze maps."""
        return self._looks is not None

    def gaze(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.gaze``: brightness, black 0 to white 1; raises UsageError as ``pixels`` does."""
        looks = self._looks
        if looks is None:
            return super().gaze(indices)
        with ThreadPoolExecutor() as pool:
            maps = torch.stack(list(pool.map(lambda index: self._read(looks[int(index)]), indices)))
        return maps.float().mean(dim=1) / 255

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of file names, bytes, classes, order, preparation and gaze; reads and decodes every file."""
        self._read_all()
        digest = hashlib.sha256(f"{self._preparation.size}{self._preparation.differs_from_default}".encode())
        for path in self._looks or ():
            digest.update(f"gaze {self._sha256[path]}\n".encode())
        for path, label in zip(self._files, self.labels.tolist(), strict=True):
            name = path.relative_to(self._root).as_posix()
            # Names that are no UTF-8 are hashed as the bytes that they are.
            digest.update(f"{name} {self._sha256[path]} {label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def image_hashes(self) -> list[bytes]:
        """See ``Split.image_hashes``: of the files."""
        assert self.sha256
        return [bytes.fromhex(self._sha256[path]) for path in self._files]

    def _read_all(self) -> None:
        """Read every file that is not in memory yet, so that one that cannot be read is found at the start."""
        for indices in tqdm(in_parts(len(self)), desc=f"read {self._name} images", leave=False, disable=None):
            self.pixels(indices)
            if self.has_gaze:
                self.gaze(indices)
        largest = max(self._largest.values())
        if self._depth is None and 0 < largest < 2**15:
            bits = max(8, largest.bit_length())
            LOG.warning(
                "warning: imagefolder: in the split %s no file of 16 bits has a value above %d of 65535, so pixels are "
                "dark; data of %d bits need imagefolder:depth=%d, and depth=16 says that this is right",
                *(self._name, largest, bits, bits),
            )

    def _decode(self, index: int) -> Tensor:
        image = self._read(self._files[index])
        self._decoded.keep(index, image)
        return image

    def _read(self, path: Path) -> Tensor:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"imagefolder: {path} cannot be read: {error.strerror}") from error
        try:
            decoded = decode(content, self._depth)
        except DecodeError as error:
            raise UsageError(f"imagefolder: {path} does not decode ({error}); mend or remove it") from error
        digest = hashlib.sha256(content).hexdigest()
        if self._sha256.setdefault(path, digest) != digest:
            raise UsageError(f"imagefolder: {path} changed since the run started; run the same command again")
        self._largest[path] = decoded.largest
        try:
            return self._preparation(decoded.image)
        except ValueError as error:
            raise UsageError(f"imagefolder: {path} {error}") from error
