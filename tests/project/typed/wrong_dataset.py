"""Mistakes in a dataset, each on a line that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from attrobust import ArraySplit, Dataset, Loaded, Split, register_dataset, register_method


class Lazy(Split):
    def pixels(self, index: int) -> Tensor:  # error
        return torch.zeros(index)

    @property
    def sha256(self) -> bytes:  # error
        return b""

    def gaze(self, indices: Sequence[int]) -> list[float]:  # error
        return []


class NoHash(Split):
    def pixels(self, indices: Sequence[int]) -> Tensor:
        return torch.zeros(len(indices))


@register_dataset("wrong")
@dataclass(frozen=True, kw_only=True)
class Wrong(Dataset):
    recipe: ClassVar[str] = None  # error

    def load(self, root: Path | None) -> Loaded:
        held = ArraySplit([0.0], torch.zeros(1))  # error
        return Loaded(splits={"train": held}, classes=("a",), channels="3", size=8, mean=(), std=())  # error


@register_method("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongReturn(Dataset):  # error: mypy
    def load(self, root: Path | None) -> Split:  # error
        return NoHash()  # error


@register_dataset("no-load")
@dataclass(frozen=True, kw_only=True)
class NoLoad(Dataset):
    pass


NoLoad()  # error
