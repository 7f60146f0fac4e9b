"""The contract of a dataset: images in [0, 1], three fixed splits, and hashes that identify them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from attrobust.benchmark.data.preparation import Preparation
from attrobust.types import ImageFacts, SplitName, UsageError


class Split(ABC):
    """Images of one split, in a fixed order that mixes the classes.

    Attributes:
        labels: int64[N], the true class of every image; from 0 to the number of classes less 1.
    """

    labels: Tensor

    @abstractmethod
    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 images, B×C×H×W, at these positions of the split; the same at every call."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Hash of the split's contents: of images, labels and their order."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_gaze(self) -> bool:
        """Whether the split has gaze maps."""
        return False

    def gaze(self, indices: Sequence[int]) -> Tensor:
        """float32 maps of where people look, B×H×W in [0, 1], at these positions of a split that has them."""
        raise NotImplementedError(f"{type(self).__name__} has no gaze maps; see has_gaze")

    @property
    def has_masks(self) -> bool:
        """Whether the split has object masks."""
        return False

    def masks(self, indices: Sequence[int]) -> Tensor:
        """Object masks, bool B×H×W: the pixels that decide the class, at these positions of a split that has them."""
        raise NotImplementedError(f"{type(self).__name__} has no masks; see has_masks")

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """float32 images in [0, 1], B×C×H×W, and their classes, int64[B]; raises UsageError for pixels not uint8."""
        pixels = self.pixels(indices)
        check_bytes(pixels, f"{type(self).__name__}.pixels")
        return pixels.float() / 255, self.labels[torch.as_tensor(indices)]

    def image_hashes(self) -> list[bytes]:
        """A hash of every image, by which equal images of two splits are found; reads all of the split."""
        return [
            hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
            for indices in in_parts(len(self))
            for image in self.pixels(indices)
        ]


class ArraySplit(Split):
    """A split held in memory.

    Args:
        images: uint8, N×C×H×W.
        labels: int64[N].

    Raises:
        UsageError: images or labels are of another kind, or not as many.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        check_bytes(images, f"{type(self).__name__}: images")
        check_labels(labels, len(images), f"{type(self).__name__}: labels")
        self._images = images
        self.labels = labels
        digest = hashlib.sha256(images.contiguous().numpy().tobytes())
        digest.update(labels.numpy().tobytes())
        self._sha256 = digest.hexdigest()

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``."""
        return self._images[torch.as_tensor(indices)]

    @property
    def sha256(self) -> str:
        """Hash of pixels and labels in order."""
        return self._sha256


def check_bytes(images: Tensor, what: str) -> None:
    """Raise UsageError unless a tensor is a batch of images of 8 bits; ``what`` names it."""
    if not isinstance(images, Tensor) or images.dim() != 4:
        shown = shape_of(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"{what} must be a tensor B×C×H×W, not {shown}")
    if images.dtype != torch.uint8:
        raise UsageError(
            f"{what} must be uint8 from 0 to 255, not {images.dtype}: they are divided by 255; "
            "turn pixels in [0, 1] into (255 * x).round().to(torch.uint8)"
        )


def check_labels(labels: Tensor, count: int, what: str) -> None:
    """Raise UsageError unless a tensor has one class for each of ``count`` images; ``what`` names it."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (count,):
        is_tensor = isinstance(labels, Tensor)
        shown = f"{labels.dtype} {shape_of(labels.shape)}" if is_tensor else type(labels).__name__
        raise UsageError(f"{what} must be int64, one for each of {count} images, not {shown}")


def check_shape(images: Tensor, shape: tuple[int, int, int], what: str) -> None:
    """Raise UsageError unless images are of 8 bits and of the shape that their dataset states, C×H×W."""
    check_bytes(images, f"{what}: pixels")
    if images.shape[1:] != shape:
        raise UsageError(f"{what}: images are {shape_of(images.shape[1:])}, and the dataset says {shape_of(shape)}")


def check_maps(split: Split, indices: Sequence[int], size: int, what: str) -> None:
    """Raise UsageError unless masks and gaze maps of some images, as far as there are any, are what they must be.

    Args:
        split: whose images.
        indices: their positions.
        size: H and W of an image.
        what: names dataset and split.
    """
    wanted = (len(indices), size, size)
    if split.has_masks:
        masks = split.masks(indices)
        if masks.shape != wanted or masks.dtype != torch.bool:
            raise UsageError(
                f"{what}: masks must be bool {shape_of(wanted)}, not {masks.dtype} {shape_of(masks.shape)}"
            )
    if split.has_gaze:
        maps = split.gaze(indices)
        if maps.shape != wanted or not maps.is_floating_point():
            raise UsageError(f"{what}: gaze must be float {shape_of(wanted)}, not {maps.dtype} {shape_of(maps.shape)}")
        if not bool(((maps >= 0) & (maps <= 1)).all()):
            raise UsageError(f"{what}: gaze must be in [0, 1]")


def shape_of(sizes: Sequence[int]) -> str:
    """A shape as errors say it, ``12×1×28×28``."""
    return "×".join(map(str, sizes)) or "a single number"


def in_parts(count: int, size: int = 256) -> list[range]:
    """The positions of ``count`` images, a few at a time."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def partners(split: Split, count: int) -> list[int]:
    """For each of the first ``count`` images of a split the position of its partner, see ``partners_among``."""
    return partners_among(split.labels.tolist(), count)


def guessing(labels: Tensor) -> float:
    """The share of the images that are of their most frequent class, from their classes, int64[N]."""
    return float(torch.bincount(labels).max()) / len(labels)


def partners_among(labels: Sequence[int], count: int) -> list[int]:
    """For each of the first ``count`` images the position of its partner: the next image, cyclically, of another class.

    An image's partner does not depend on ``count``. Where there is only one class, it is the next image.

    Args:
        labels: the classes of all images.
        count: of images that get a partner.
    """
    size = len(labels)
    positions = []
    for i in range(count):
        following = ((i + step) % size for step in range(1, size))
        positions.append(next((j for j in following if labels[j] != labels[i]), (i + 1) % size))
    return positions


def evaluation_sha256(split: Split, count: int) -> str:
    """Hash of the first ``count`` images of a split and of their partners: pixels, classes and positions, in order."""
    digest = hashlib.sha256(f"{count}".encode())
    positions = [*range(count), *sorted({j for j in partners(split, count) if j >= count})]
    for start in range(0, len(positions), 256):
        indices = positions[start : start + 256]
        digest.update(split.pixels(indices).contiguous().numpy().tobytes())
        digest.update(split.labels[torch.as_tensor(indices)].numpy().tobytes())
        if split.has_masks:
            digest.update(split.masks(indices).contiguous().numpy().tobytes())
    return digest.hexdigest()


def fixed_order(count: int) -> list[int]:
    """The same shuffle of ``range(count)`` on every machine and with every numpy version."""
    order: list[int] = np.random.RandomState(0).permutation(count).tolist()
    return order


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A dataset read from disk.

    Attributes:
        splits: train, val and test.
        classes: class names in label order.
        channels, size: of an image; H = W = size pixels.
        mean, std: per channel in pixel units, for networks to normalise with.
        preparation: how files became images of this size; None where they did not.
    """

    splits: dict[SplitName, Split]
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: Preparation | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Images with classes; the fields of a subclass are its settings.

    Attributes:
        recipe: name of the training recipe that is used by default.
    """

    recipe: ClassVar[str] = "cifar10"

    @abstractmethod
    def load(self, root: Path | None) -> Loaded:
        """Read the images.

        Args:
            root: the folder the user named, or None for the dataset's own default.

        Raises:
            UsageError: images are missing or unreadable; the message says where they were looked for and what to do.
        """


def image_facts(data: Loaded) -> ImageFacts:
    """The facts of a dataset that a network is built from."""
    return ImageFacts(channels=data.channels, size=data.size, classes=len(data.classes), mean=data.mean, std=data.std)
