"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017) through torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.data.halves import Halves


def _halves(name: str, source: str, mean: float, std: float) -> Halves:
    folder = f"{source}/raw"
    hint = f"Put its four files there, unpacked, as {folder}/train-images-idx3-ubyte and so on"
    return Halves(name=name, source=source, folder=folder, hint=hint, mean=(mean,), std=(std,))


MNIST = _halves("mnist", "MNIST", 0.1307, 0.3081)
FASHION = _halves("fashion-mnist", "FashionMNIST", 0.2860, 0.3530)


@register("mnist")
@dataclass(frozen=True, kw_only=True)
class Mnist(Dataset):
    """70,000 grey images of handwritten digits, 28×28; downloaded and checked by torchvision on first use."""

    recipe: ClassVar[str] = "mnist"

    def load(self, root: Path | None) -> Loaded:
        """55,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        return MNIST.load(root)


@register("fashion-mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """70,000 grey images of 10 kinds of clothing, 28×28; downloaded and checked by torchvision on first use."""

    recipe: ClassVar[str] = "mnist"

    def load(self, root: Path | None) -> Loaded:
        """55,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        return FASHION.load(root)
