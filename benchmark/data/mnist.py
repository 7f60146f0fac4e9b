"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017) through torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import Dataset, Loaded


@register("mnist")
@dataclass(frozen=True, kw_only=True)
class Mnist(Dataset):
    """70,000 grey images of handwritten digits, 28×28; downloaded and checked by torchvision on first use."""

    recipe: ClassVar[str] = "mnist"

    def load(self, root: Path | None) -> Loaded:
        """55,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        return _load("mnist", "MNIST", (0.1307,), (0.3081,), root)


@register("fashion-mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """70,000 grey images of 10 kinds of clothing, 28×28; downloaded and checked by torchvision on first use."""

    recipe: ClassVar[str] = "mnist"

    def load(self, root: Path | None) -> Loaded:
        """55,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        return _load("fashion-mnist", "FashionMNIST", (0.2860,), (0.3530,), root)


def _load(name: str, source: str, mean: tuple[float, ...], std: tuple[float, ...], root: Path | None) -> Loaded:
    from torchvision import datasets

    from attrobust.benchmark.data.halves import Halves

    folder = f"{source}/raw"
    halves = Halves(
        name=name,
        source=getattr(datasets, source),
        folder=folder,
        hint=f"Put its four files there, unpacked, as {folder}/train-images-idx3-ubyte and so on",
        mean=mean,
        std=std,
    )
    return halves.load(root)
