"""The default dataset: scans of handwritten digits that come with scikit-learn."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from attrobust.arrays import Bytes, Integers
from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import ArraySplit, Dataset, Loaded, fixed_order
from attrobust.types import SplitName

SPLITS: dict[SplitName, slice] = {"train": slice(0, 1197), "val": slice(1197, 1497), "test": slice(1497, 1797)}


@register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """scikit-learn's 1,797 real scans (UCI optdigits, 8×8, grey), enlarged bilinearly; needs no download.

    Attributes:
        size: width of the enlarged image in pixels.
    """

    size: int = 28
    recipe: ClassVar[str] = "digits"

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 256:
            raise ValueError(f"size={self.size} must be between 8 and 256 pixels")

    def load(self, root: Path | None) -> Loaded:  # noqa: ARG002
        """1,197 training, 300 validation and 300 test images."""
        table = read_scans()
        images = torch.from_numpy(enlarge(table[:, :-1].reshape(-1, 8, 8), self.size))[:, None]
        labels = torch.from_numpy(table[:, -1])
        order = torch.tensor(fixed_order(len(labels)))
        return Loaded(
            splits={name: ArraySplit(images[order[part]], labels[order[part]]) for name, part in SPLITS.items()},
            classes=tuple(map(str, range(10))),
            channels=1,
            size=self.size,
            mean=(0.306,),
            std=(0.324,),
        )


def read_scans() -> Integers:
    """The rows of scikit-learn's file, int64[1797, 65]: 64 grey levels from 0 to 16, then the digit.

    Read without importing scikit-learn, which takes a third as long as importing torch; by it where it keeps the file
    elsewhere.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return np.loadtxt(path, delimiter=",", dtype=np.int64)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.int64)


def enlarge(images: Integers, size: int) -> Bytes:
    """Bilinear enlargement in integer arithmetic, which gives the same bytes on every machine.

    Args:
        images: N×8×8 with values 0 to 16.
        size: output width.

    Returns:
        uint8 N×size×size, 0 to 255, rounded half up; pixel centres are aligned and edges replicated.
    """
    weights = np.zeros((size, 8), dtype=np.int64)
    for row in range(size):
        position = 8 * (2 * row + 1) - size
        lower = position // (2 * size)
        share = position - lower * 2 * size
        weights[row, min(max(lower, 0), 7)] += 2 * size - share
        weights[row, min(max(lower + 1, 0), 7)] += share
    whole = 16 * (2 * size) ** 2
    return ((2 * 255 * (weights @ images @ weights.T) + whole) // (2 * whole)).astype(np.uint8)
