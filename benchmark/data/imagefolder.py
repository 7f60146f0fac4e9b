"""Images in folders, or in a list of files, read file by file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from attrobust.benchmark.data import register
from attrobust.benchmark.data.absent import Absent
from attrobust.benchmark.data.base import Dataset, Loaded, Split, fixed_order
from attrobust.benchmark.data.class_lists import WHOLE, ClassList, in_order, of_labels, read_classes
from attrobust.benchmark.data.decode import DecodeError, size_of
from attrobust.benchmark.data.folder_split import FolderSplit
from attrobust.benchmark.data.layout import Labelled, find_splits
from attrobust.benchmark.data.preparation import Interpolation, Preparation
from attrobust.benchmark.models.normalization import CONSTANTS
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")
MEAN, STD = CONSTANTS["imagenet"]
GREY = ((0.449,), (0.226,))
"""Mean and std of brightness: those of ImageNet over its channels, as torchvision and timm have them."""


@register("imagefolder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Images in ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/`` below --data-root.

    If there are both val and test, they are the validation and the test split; if there is one of them, it is the test
    split, and a tenth of the training images is the validation split. Without train, or with class folders alone,
    checkpoints are evaluated and nothing is trained.

    Attributes:
        size: width of a square image in pixels, cropped from the centre.
        resize: what shorter sides are scaled to before; ``none`` for ``size``.
        interpolation: of the scaling: ``bilinear``, ``bicubic``, ``nearest`` or ``lanczos``.
        channels: 3, or 1 for brightness alone.
        classes: the classes of a network that the folders are some of: ``imagenet``, by the names of synsets; a number
            of classes that are called 0, 1, …; or a file below --data-root, see ``read_classes``. ``none`` where the
            folders are all classes, in the order of their names.
        labels: CSV file below --data-root with the columns ``file``, ``label`` and, if wanted, ``split``, in place of
            class folders.
        gaze: folder below --data-root with gaze maps of the training images, bright where people look, as
            ``<gaze>/train/<class>/<name>.png`` for ``train/<class>/<name>.jpg``; ``none`` where there are none.
        depth: bits of the data in files of 16 bits that do not state it, from 8 to 16; a value of more bits is an
            error. ``none`` stands for 16, with a warning where all values are small.
    """

    size: int = 32
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    classes: str | None = None
    labels: str | None = None
    gaze: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size={self.size} must be between 1 and 4096 pixels")
        if self.depth is not None and not 8 <= self.depth <= 16:
            raise ValueError(f"depth={self.depth} must be between 8 and 16 bits")
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels} must be 1 or 3")
        assert self.preparation

    @property
    def preparation(self) -> Preparation:
        """What is done with the image of every file; raises ValueError where its settings do not suit each other."""
        return Preparation(
            size=self.size,
            resize=self.size if self.resize is None else self.resize,
            interpolation=self.interpolation,
            channels=self.channels,
        )

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
        found = find_splits(root, self.labels)
        classes = self._classes(root, found)
        parts = {name: _shuffled(labelled, classes, f"{root}, split {name}") for name, labelled in found.items()}
        if "test" not in parts:
            parts["test"] = parts.pop("val")
        if "train" in parts and "val" not in parts:
            held_out = max(1, len(parts["train"]) // 10)
            parts["train"], parts["val"] = parts["train"][held_out:], parts["train"][:held_out]
        mean, std = (MEAN, STD) if self.channels == 3 else GREY
        return Loaded(
            splits={name: self._split(name, parts.get(name), root) for name in ("train", "val", "test")},
            classes=classes.names,
            channels=self.channels,
            size=self.size,
            mean=mean,
            std=std,
            preparation=self.preparation,
        )

    def _classes(self, root: Path, found: dict[SplitName, Labelled]) -> ClassList:
        """The classes that labels are numbered by: as set, or those of the training images where there are some."""
        those = [found["train"]] if "train" in found else list(found.values())
        names = sorted({name for labelled in those for _, name in labelled})
        are_numbers = all(WHOLE.fullmatch(name) for name in names)
        if self.classes is not None:
            classes = read_classes(self.classes, root)
        elif self.labels is not None and (numbered := of_labels(names, f"labels: {root / self.labels}")):
            classes = numbered
        else:
            classes = in_order(names, "train/" if "train" in found else "the folder")
            if are_numbers and names != sorted(names, key=int):
                most = 1 + int(max(names, key=int))
                order = f"{', '.join(names[:3])}, …; if they number a network's classes, set classes={most} or more"
                LOG.warning("warning: imagefolder: class folders are numbered in alphabetical order, %s", order)
        if len(classes.names) < 2:
            tables = sorted(root.glob("*.csv")) if self.labels is None else []
            hint = f"; if {tables[0].name} says them: imagefolder:labels={tables[0].name}" if tables else ""
            raise UsageError(
                f"imagefolder: {root} has images of {len(classes.names)} classes; it needs at least 2{hint}"
            )
        return classes

    def _split(self, name: SplitName, part: list[tuple[Path, int]] | None, root: Path) -> Split:
        if part is None:
            why = "which methods, transfer attacks and retraining metrics need"
            return Absent(f"imagefolder: {root} has no training images, {why}; give --checkpoint and leave these out")
        files = [path for path, _ in part]
        looks = self._looks(root, files) if name == "train" else None
        labels = torch.tensor([label for _, label in part])
        return FolderSplit(name, root, files, labels, self.preparation, self.depth, looks)

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
        return size_of(path.read_bytes())
    except DecodeError as error:
        raise UsageError(f"imagefolder: {path} does not decode ({error}); mend or remove it") from error


def _shuffled(labelled: Labelled, classes: ClassList, where: str) -> list[tuple[Path, int]]:
    numbered = [(path, classes.number(name, where)) for path, name in labelled]
    return [numbered[i] for i in fixed_order(len(numbered))]
