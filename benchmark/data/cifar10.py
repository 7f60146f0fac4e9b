"""CIFAR-10 (Krizhevsky 2009) through torchvision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attrobust.benchmark.data import register
from attrobust.benchmark.data.base import ArraySplit, Dataset, Loaded, fixed_order
from attrobust.benchmark.models.normalization import CONSTANTS
from attrobust.types import UsageError

MEAN, STD = CONSTANTS["cifar10"]
VALIDATION = 5000


@register("cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar10(Dataset):
    """60,000 colour images of 10 classes, 32×32; downloaded and checked by torchvision on first use."""

    def load(self, root: Path | None) -> Loaded:
        """45,000 training and 5,000 validation images of the training set, and 10,000 test images."""
        folder = root or default_root()
        train_images, train_labels, classes = _read(folder, train=True)
        test_images, test_labels, _ = _read(folder, train=False)
        order = torch.tensor(fixed_order(len(train_labels)))
        held_out = min(VALIDATION, len(order) // 10)
        val, train = order[:held_out], order[held_out:]
        test = torch.tensor(fixed_order(len(test_labels)))
        return Loaded(
            splits={
                "train": ArraySplit(train_images[train], train_labels[train]),
                "val": ArraySplit(train_images[val], train_labels[val]),
                "test": ArraySplit(test_images[test], test_labels[test]),
            },
            classes=classes,
            channels=3,
            size=32,
            mean=MEAN,
            std=STD,
        )


def default_root() -> Path:
    """Default of ``--data-root``: ``$ATTROBUST_DATA`` if set, else a cache folder."""
    named = os.environ.get("ATTROBUST_DATA")
    return Path(named) if named else Path.home() / ".cache" / "attrobust" / "data"


def _read(folder: Path, *, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    from torchvision.datasets import CIFAR10

    try:
        try:
            source = CIFAR10(str(folder), train=train, download=False)
        except RuntimeError:
            folder.mkdir(parents=True, exist_ok=True)
            source = CIFAR10(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"cifar10: no intact cifar-10-batches-py in {folder} and the download failed ({reason}). "
            "Unpack cifar-10-python.tar.gz there, or name the folder that holds it with --data-root"
        ) from error
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(source.targets), tuple(source.classes)
