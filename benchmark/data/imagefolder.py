"""Images in class folders, read file by file."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import Dataset, Loaded, Split, fixed_order, in_parts
from attrobust.benchmark.data.decode import decode
from attrobust.benchmark.data.decoded import DecodedImages
from attrobust.benchmark.data.tree import SUFFIXES, left_out, read_tree
from attrobust.benchmark.models.normalization import CONSTANTS
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
MEAN, STD = CONSTANTS["imagenet"]
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
        size: every image is scaled so that its shorter side is this and cropped to its centre.
        depth: bits of the data in files of 16 bits that do not state it; None for all 16.
        looks: the file of the gaze map of every image; None where there are none.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        files: Sequence[Path],
        labels: Tensor,
        size: int,
        depth: int | None = None,
        looks: Sequence[Path] | None = None,
    ) -> None:
        self.labels = labels
        self._name, self._root, self._files, self._looks = name, root, list(files), looks
        self._size, self._depth = size, depth
        self._decoded = DecodedImages((3, size, size), CACHE_BYTES)
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
        """Hash of file names, bytes, classes, order, image size and gaze; reads and decodes every file of the split."""
        self._read_all()
        digest = hashlib.sha256(f"{self._size}".encode())
        for path in self._looks or ():
            digest.update(f"gaze {self._sha256[path]}\n".encode())
        for path, label in zip(self._files, self.labels.tolist(), strict=True):
            digest.update(f"{path.relative_to(self._root).as_posix()} {self._sha256[path]} {label}\n".encode())
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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UsageError(f"imagefolder: {path} does not decode ({error}); mend or remove it") from error
        digest = hashlib.sha256(content).hexdigest()
        if self._sha256.setdefault(path, digest) != digest:
            raise UsageError(f"imagefolder: {path} changed since the run started; run the same command again")
        self._largest[path] = decoded.largest
        image = decoded.image
        if image.size != (self._size, self._size):
            scale = self._size / min(image.size)
            image = image.resize(
                (max(self._size, round(image.width * scale)), max(self._size, round(image.height * scale))),
                Image.Resampling.BILINEAR,
            )
            left, top = (image.width - self._size) // 2, (image.height - self._size) // 2
            image = image.crop((left, top, left + self._size, top + self._size))
        return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()


@register("imagefolder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Images in ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/`` below --data-root.

    If there are both val and test, they are the validation and the test split; if there is one of them, it is the test
    split, and a tenth of the training images is the validation split.

    Attributes:
        size: width of a square image in pixels; shorter sides are scaled to it and the centre is cropped.
        gaze: folder below --data-root with gaze maps of the training images, bright where people look, as
            ``<gaze>/train/<class>/<name>.png`` for ``train/<class>/<name>.jpg``; ``none`` where there are none.
        depth: bits of the data in files of 16 bits that do not state it, from 8 to 16; a value of more bits is an
            error. ``none`` stands for 16, with a warning where all values are small.
    """

    size: int = 32
    gaze: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size={self.size} must be between 1 and 4096 pixels")
        if self.depth is not None and not 8 <= self.depth <= 16:
            raise ValueError(f"depth={self.depth} must be between 8 and 16 bits")

    def load(self, root: Path | None) -> Loaded:
        """See ``Dataset.load``."""
        if root is None:
            raise UsageError("imagefolder: name the folder that holds train/ and test/ (or val/) with --data-root")
        if not root.is_dir():
            raise UsageError(f"imagefolder: --data-root {root} is not a folder")
        try:
            return self._read(root)
        except OSError as error:
            raise UsageError(f"imagefolder: {error.filename} cannot be read: {error.strerror}") from error

    def _read(self, root: Path) -> Loaded:
        present = [name for name in ("val", "test") if (root / name).is_dir()]
        if not (root / "train").is_dir() or not present:
            raise UsageError(f"imagefolder: {root} needs train/ and test/ (or val/), each with a folder per class")
        trees = {name: read_tree(root / name) for name in ("train", *present)}
        if line := left_out(trees.values()):
            LOG.warning("warning: %s", line)
        classes = tuple(trees["train"].images)
        if len(classes) < 2:
            raise UsageError(f"imagefolder: {root / 'train'} has images of {len(classes)} classes; it needs at least 2")
        shuffled = {name: _shuffled(root / name, tree.images, classes) for name, tree in trees.items()}
        train = shuffled["train"]
        if len(present) == 2:
            parts = shuffled
        else:
            held_out = max(1, len(train) // 10)
            parts = {"train": train[held_out:], "val": train[:held_out], "test": shuffled[present[0]]}
        splits: dict[str, Split] = {
            name: FolderSplit(
                name,
                root,
                [path for path, _ in part],
                torch.tensor([label for _, label in part]),
                self.size,
                self.depth,
                self._looks(root, [path for path, _ in part]) if name == "train" else None,
            )
            for name, part in parts.items()
        }
        return Loaded(
            splits={"train": splits["train"], "val": splits["val"], "test": splits["test"]},
            classes=classes,
            channels=3,
            size=self.size,
            mean=MEAN,
            std=STD,
        )

    def _looks(self, root: Path, files: Sequence[Path]) -> list[Path] | None:
        """The gaze map of every training image; raises UsageError for one that is missing or of another shape."""
        if self.gaze is None:
            return None
        folder = root / self.gaze
        looks = [(folder / path.relative_to(root)).with_suffix(".png") for path in files]
        missing = next((path for path in looks if not path.is_file()), None)
        if missing is not None:
            raise UsageError(f"imagefolder: gaze map {missing} is missing; every training image needs one")
        for path, look in zip(files, looks, strict=True):
            (width, height), (wide, high) = _size(path), _size(look)
            if abs(width * high - wide * height) > 0.01 * width * high:
                raise UsageError(f"imagefolder: {look} is {wide}×{high}, its image {width}×{height}: another shape")
        return looks


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"imagefolder: {path} does not decode ({error}); mend or remove it") from error


def _shuffled(folder: Path, images: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> list[tuple[Path, int]]:
    unknown = [name for name in images if name not in classes]
    if unknown:
        raise UsageError(f"imagefolder: {folder} has a class folder {unknown[0]!r} that train/ lacks")
    labelled = [(path, classes.index(name)) for name, paths in images.items() for path in paths]
    if not labelled:
        raise UsageError(f"imagefolder: {folder} holds no image files ({', '.join(sorted(SUFFIXES))})")
    return [labelled[i] for i in fixed_order(len(labelled))]
