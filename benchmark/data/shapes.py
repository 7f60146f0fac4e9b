"""Synthetic images of geometric shapes with exact object masks; nothing to download."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from attrobust.arrays import Booleans, Bytes, Integers
from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import ArraySplit, Dataset, Loaded
from attrobust.benchmark.data.digits import enlarge
from attrobust.types import SplitName

SIZES: dict[SplitName, int] = {"train": 3000, "val": 600, "test": 600}
UNIT = 1024
"""Directions and lengths are integers in units of 1/1024, so that every machine draws the same pixels."""


class MaskedSplit(ArraySplit):
    """A split held in memory with object masks.

    Args:
        images: uint8, N×C×H×W.
        labels: int64[N].
        masks: bool, N×H×W.
    """

    def __init__(self, images: Tensor, labels: Tensor, masks: Tensor) -> None:
        super().__init__(images, labels)
        self._masks = masks

    @property
    def has_masks(self) -> bool:
        """True."""
        return True

    def masks(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.masks``."""
        return self._masks[torch.as_tensor(indices)]


@register("shapes")
@dataclass(frozen=True, kw_only=True)
class Shapes(Dataset):
    """One disc, square, triangle, cross, ring or star in front of a texture with distracting lines and blobs.

    Position, size, angle and all colours are random, and the class decides only which pixels the shape paints: no pixel
    outside the mask depends on it. Masks are exact, since edges are not anti-aliased.

    Attributes:
        size: width of the image in pixels.
        contrast: least distance of the shape's colour from the background's mean, summed over red, green and blue, of
            at most 255 each.
        seed: of the random drawing.
    """

    size: int = 32
    contrast: int = 240
    seed: int = 0
    recipe: ClassVar[str] = "shapes"

    def __post_init__(self) -> None:
        if not 24 <= self.size <= 256:
            raise ValueError(f"size={self.size} must be between 24 and 256 pixels")
        if not 0 <= self.contrast <= 360:
            raise ValueError(f"contrast={self.contrast} must be between 0 and 360")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be between 0 and 2^32 - 1")

    def load(self, root: Path | None) -> Loaded:  # noqa: ARG002
        """3,000 training, 600 validation and 600 test images, equally many of every class."""
        return Loaded(
            splits={name: self._split(number, count) for number, (name, count) in enumerate(SIZES.items())},
            classes=tuple(PAINTED),
            channels=3,
            size=self.size,
            mean=(0.499, 0.499, 0.499),
            std=(0.202, 0.202, 0.202),
        )

    def draw(self, stream: Sequence[int], label: int) -> tuple[Bytes, Booleans]:
        """One image, 3×H×W, and the pixels that its shape paints, H×W.

        Args:
            stream: integers that, together with ``seed``, decide everything but the shape.
            label: index of the shape in ``PAINTED``.
        """
        random = np.random.RandomState([self.seed, *stream])
        image, mean = _background(random, self.size)
        colour = random.randint(0, 256, 3)
        while np.abs(colour - mean).sum() < self.contrast:
            colour = random.randint(0, 256, 3)
        # In units of half pixels, in which the centres of pixels are odd numbers.
        radius = random.randint(self.size * 14 // 32, self.size * 22 // 32 + 1)
        x, y = _offsets(self.size, *random.randint(radius, 2 * self.size - radius + 1, 2))
        cosine, sine = _direction(random)
        shape = list(PAINTED.values())[label]
        mask = shape(cosine * x + sine * y, cosine * y - sine * x, radius * UNIT)
        image = np.where(mask, colour[:, None, None], image)
        noise = random.randint(-10, 11, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8), mask

    def _split(self, number: int, count: int) -> MaskedSplit:
        order = np.random.RandomState([self.seed, number]).permutation(count).astype(np.int64)
        labels = order % len(PAINTED)
        images, masks = zip(*(self.draw((number, i), label) for i, label in enumerate(labels)), strict=True)
        return MaskedSplit(
            torch.from_numpy(np.stack(images)), torch.from_numpy(labels), torch.from_numpy(np.stack(masks))
        )


def _background(random: np.random.RandomState, size: int) -> tuple[Integers, Integers]:
    """A texture with two blobs and three lines, 3×H×W, and the texture's mean colour."""
    mean = random.randint(64, 192, 3)
    texture = enlarge(random.randint(0, 17, (3, 8, 8)).astype(np.int64), size).astype(np.int64)
    image: Integers = mean[:, None, None] + (texture - 128) * 2 // 5
    for _ in range(2):
        x, y = _offsets(size, *random.randint(0, 2 * size, 2))
        cosine, sine = _direction(random)
        long, short = random.randint(size * 4 // 32, size * 10 // 32 + 1, 2)
        along, across = cosine * x + sine * y, cosine * y - sine * x
        inside = (along * short) ** 2 + (across * long) ** 2 <= (long * short * UNIT) ** 2
        image = np.where(inside, _faint(random, mean), image)
    for _ in range(3):
        x, y = _offsets(size, *random.randint(0, 2 * size, 2))
        cosine, sine = _direction(random)
        on_line = np.abs(cosine * y - sine * x) <= random.randint(1, 3) * size * UNIT // 32
        image = np.where(on_line, _faint(random, mean), image)
    return image, mean


def _faint(random: np.random.RandomState, mean: Integers) -> Integers:
    """A random colour blended half and half with the texture's mean, 3×1×1, to stand out less than the shape."""
    colour: Integers = (random.randint(0, 256, 3) + mean) // 2
    return colour[:, None, None]


def _offsets(size: int, x: int, y: int) -> tuple[Integers, Integers]:
    """Offsets of every pixel's centre from a point, in half pixels, 1×W and H×1."""
    centres = 2 * np.arange(size, dtype=np.int64) + 1
    return (centres - x)[None, :], (centres - y)[:, None]


def _direction(random: np.random.RandomState) -> tuple[int, int]:
    """Cosine and sine of a random angle, in 1/1024."""
    while True:
        a, b = random.randint(-UNIT, UNIT + 1, 2).tolist()
        length = math.isqrt(a * a + b * b)
        if UNIT // 4 <= length <= UNIT:
            return a * UNIT // length, b * UNIT // length


def _disc(u: Integers, v: Integers, radius: int) -> Booleans:
    return 100 * (u**2 + v**2) <= 64 * radius**2


def _square(u: Integers, v: Integers, radius: int) -> Booleans:
    return 100 * np.maximum(np.abs(u), np.abs(v)) <= 70 * radius


def _triangle(u: Integers, v: Integers, radius: int) -> Booleans:
    return (2 * v >= -radius) & (866 * np.abs(u) + 500 * v <= 500 * radius)


def _cross(u: Integers, v: Integers, radius: int) -> Booleans:
    near, far = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return (100 * near <= 28 * radius) & (100 * far <= 95 * radius)


def _ring(u: Integers, v: Integers, radius: int) -> Booleans:
    square = 100 * (u**2 + v**2)
    return (square >= 30 * radius**2) & (square <= 90 * radius**2)


def _star(u: Integers, v: Integers, radius: int) -> Booleans:
    """A pentagram: the points that lie beyond at most one of the five lines through its corners."""
    lines = ((0, 1000), (951, 309), (588, -809), (-588, -809), (-951, 309))
    beyond = [a * u + b * v > 309 * radius for a, b in lines]
    mask: Booleans = np.sum(beyond, axis=0) <= 1
    return mask


PAINTED: dict[str, Callable[[Integers, Integers, int], Booleans]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
}
"""By class, the function that gives the pixels of a shape from their offsets along and across it and its radius."""
