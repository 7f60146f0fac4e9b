"""CIFAR-10 (Krizhevsky 2009) through torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.data.halves import Halves
from attrobust.benchmark.models.normalization import CONSTANTS

MEAN, STD = CONSTANTS["cifar10"]
HALVES = Halves(
    name="cifar10",
    source="CIFAR10",
    folder="cifar-10-batches-py",
    hint="Unpack cifar-10-python.tar.gz there",
    mean=MEAN,
    std=STD,
)


@register("cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar10(Dataset):
    """60,000 colour images of 10 classes, 32×32; downloaded and checked by torchvision on first use."""

    def load(self, root: Path | None) -> Loaded:
        """45,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        return HALVES.load(root)
