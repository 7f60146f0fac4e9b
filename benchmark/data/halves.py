"""Datasets that torchvision downloads and checks: where they lie, and how their two halves become three splits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attrobust.benchmark.data.base import ArraySplit, Loaded, fixed_order
from attrobust.types import UsageError

VALIDATION = 5000


@dataclass(frozen=True, kw_only=True)
class Halves:
    """A dataset of torchvision with a training and a test half.

    Attributes:
        name: as registered.
        source: the name of its class in ``torchvision.datasets``.
        folder: below the data root, where its files lie.
        hint: which files to put there, and how, for those without a network.
        mean, std: per channel in pixel units, of the training images.
    """

    name: str
    source: str
    folder: str
    hint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def load(self, root: Path | None) -> Loaded:
        """Training images less a tenth of them, at most VALIDATION, which are the validation split, and test images.

        Args:
            root: the data root; ``default_root`` where None. Files that are not there are downloaded.

        Raises:
            UsageError: they are not there and cannot be downloaded, or are damaged.
        """
        train, classes = self._read(root or default_root(), train=True)
        test, _ = self._read(root or default_root(), train=False)
        order = torch.tensor(fixed_order(len(train.labels)))
        held_out = min(VALIDATION, len(order) // 10)
        shuffled = torch.tensor(fixed_order(len(test.labels)))
        return Loaded(
            splits={
                "train": train.split(order[held_out:]),
                "val": train.split(order[:held_out]),
                "test": test.split(shuffled),
            },
            classes=classes,
            channels=train.images.shape[1],
            size=train.images.shape[2],
            mean=self.mean,
            std=self.std,
        )

    def _read(self, folder: Path, *, train: bool) -> tuple[_Half, tuple[str, ...]]:
        from torchvision import datasets

        read = getattr(datasets, self.source)
        try:
            try:
                source = read(str(folder), train=train, download=False)
            except RuntimeError as error:
                # What torchvision says of files that are not there; other errors are those of reading them.
                if "download=True" not in str(error):
                    raise self._damaged(folder, str(error)) from error
                folder.mkdir(parents=True, exist_ok=True)
                source = read(str(folder), train=train, download=True)
        except (OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"{self.name}: no intact {self.folder} in {folder} and the download failed ({reason}). "
                f"{self.hint}, or name the folder that holds it with --data-root"
            ) from error
        except (ValueError, AssertionError, EOFError) as error:
            raise self._damaged(folder, str(error) or type(error).__name__) from error
        pixels = torch.as_tensor(source.data)
        images = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(source.targets)
        if len(images) != len(labels):
            raise self._damaged(folder, f"{len(images)} images and {len(labels)} labels")
        return _Half(images, labels), tuple(source.classes)

    def _damaged(self, folder: Path, reason: str) -> UsageError:
        return UsageError(f"{self.name}: {folder / self.folder} is damaged ({reason}). {self.hint}")


@dataclass(frozen=True)
class _Half:
    images: Tensor
    labels: Tensor

    def split(self, order: Tensor) -> ArraySplit:
        return ArraySplit(self.images[order], self.labels[order])


def default_root() -> Path:
    """Default of ``--data-root``: ``$ATTROBUST_DATA`` if set, else a cache folder."""
    named = os.environ.get("ATTROBUST_DATA")
    return Path(named) if named else Path.home() / ".cache" / "attrobust" / "data"
