"""A dataset held in memory, and a split that reads its images one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from attrobust import ArraySplit, Dataset, Loaded, Split, SplitName, UsageError, register_dataset


class Lazy(Split):
    def __init__(self, count: int) -> None:
        self.labels = torch.zeros(count, dtype=torch.int64)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        return torch.zeros(len(indices), 1, 8, 8, dtype=torch.uint8)

    @property
    def sha256(self) -> str:
        return "0" * 64

    @property
    def has_gaze(self) -> bool:
        return True

    def gaze(self, indices: Sequence[int]) -> Tensor:
        return torch.zeros(len(indices), 8, 8)

    @property
    def has_masks(self) -> bool:
        return True

    def masks(self, indices: Sequence[int]) -> Tensor:
        return torch.zeros(len(indices), 8, 8, dtype=torch.bool)


@register_dataset("right")
@dataclass(frozen=True, kw_only=True)
class Right(Dataset):
    count: int = 10

    recipe: ClassVar[str] = "digits"

    def load(self, root: Path | None) -> Loaded:
        if root is None:
            raise UsageError("say where the images are")
        held = ArraySplit(torch.zeros(self.count, 1, 8, 8, dtype=torch.uint8), torch.zeros(self.count))
        splits: dict[SplitName, Split] = {"train": Lazy(self.count), "val": held, "test": held}
        return Loaded(splits=splits, classes=("a", "b"), channels=1, size=8, mean=(0.5,), std=(0.5,))
