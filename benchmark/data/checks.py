"""Whether a dataset is what it says, found out before anything is trained on it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

from attrobust.benchmark.data.absent import Absent
from attrobust.benchmark.data.base import Dataset, Loaded, Split, check_labels, check_maps, check_shape
from attrobust.benchmark.data.fixed import FixedSplit
from attrobust.networks.copying import independent_copy
from attrobust.places import ours
from attrobust.process import seeded
from attrobust.types import SplitName, UsageError

LOG = logging.getLogger("attrobust")
DARK = 64
"""Below this, the brightest pixel is too dark for images of 8 bits."""
FIRST = 64
"""Images of a split that are looked at in any case."""


def load_dataset(dataset: Dataset, root: Path | None, label: str) -> Loaded:
    """Read a dataset, see ``Dataset.load``, and check it, see ``checked``; what it sets in the process is put back.

    Args:
        dataset: of which a copy is used.
        root: the folder that the user named.
        label: of the dataset, for errors.
    """
    with seeded(0):
        return checked(independent_copy(dataset).load(root), label)


def checked(data: Loaded, label: str) -> Loaded:
    """The dataset, with the splits of a plug-in as ``FixedSplit``; a few images of every split are looked at.

    Args:
        data: as loaded.
        label: of the dataset, for errors.

    Raises:
        UsageError: something is missing or not what ``Loaded`` says.
    """
    _check_facts(data, label)
    shape = (data.channels, data.size, data.size)
    splits: dict[SplitName, Split] = {}
    for name in get_args(SplitName):
        split, where = data.splits[name], f"{label}, split {name}"
        if isinstance(split, Absent):
            splits[name] = split
            continue
        check_labels(split.labels, len(split), f"{where}: labels")
        low, high = (int(label) for label in split.labels.aminmax())
        if low < 0 or high >= len(data.classes):
            raise UsageError(f"{where}: labels go from {low} to {high}, and {len(data.classes)} classes are named")
        if type(split).batch is not Split.batch:
            raise UsageError(f"{where}: {type(split).__name__} overrides batch; images come from its pixels alone")
        _check_images(split, shape, where)
        splits[name] = split if ours(type(split)) else FixedSplit(split, shape, where)
    return replace(data, splits=splits)


def read_all(data: Loaded, names: Iterable[SplitName], label: str) -> None:
    """Read and hash splits, so that nothing else is trained on or scored later, and look for images in two of them.

    Args:
        data: the dataset.
        names: of the splits that are used, the test split among them.
        label: of the dataset.

    Raises:
        UsageError: an image cannot be read, or the test split has no image that is not a training image too.
    """
    used = {name: data.splits[name] for name in names}
    hashes = {name: split.image_hashes() for name, split in used.items() if split.sha256}
    for name in ("train", "val"):
        others, test = set(hashes.get(name, ())), hashes["test"]
        shared = sum(image in others for image in test)
        if shared == len(test) and name == "train":
            raise UsageError(f"{label}: every test image is also a training image, so that nothing would be tested")
        if shared:
            LOG.warning("warning: %s: %d of %d test images are also in the split %s", label, shared, len(test), name)


def _check_facts(data: Loaded, label: str) -> None:
    if not isinstance(data, Loaded):
        raise UsageError(f"{label}: load returned {type(data).__name__}, not Loaded")
    missing = [name for name in get_args(SplitName) if name not in data.splits]
    if missing:
        raise UsageError(
            f"{label}: there is no split {missing[0]}; Loaded.splits needs {', '.join(get_args(SplitName))}"
        )
    for name in get_args(SplitName):
        if not isinstance(data.splits[name], Split) or not hasattr(data.splits[name], "labels"):
            raise UsageError(f"{label}: split {name} must be a Split with labels")
        if not len(data.splits[name]) and not isinstance(data.splits[name], Absent):
            raise UsageError(f"{label}: split {name} has no images")
    if len(data.classes) < 2 or len(set(data.classes)) < len(data.classes):
        raise UsageError(f"{label}: classes must be at least two different names, not {list(data.classes)}")
    if len(data.mean) != data.channels or len(data.std) != data.channels:
        counts = f"{len(data.mean)} and {len(data.std)}"
        raise UsageError(f"{label}: mean and std have {counts} values, and images {data.channels} channels")
    if not all(map(math.isfinite, (*data.mean, *data.std))) or not all(value > 0 for value in data.std):
        raise UsageError(f"{label}: mean {data.mean} and std {data.std} must be finite, and std above 0")


def _check_images(split: Split, shape: tuple[int, int, int], where: str) -> None:
    indices = range(min(FIRST, len(split)))
    pixels = split.pixels(indices)
    check_shape(pixels, shape, where)
    if int(pixels.max()) == 1:
        raise UsageError(f"{where}: no pixel is above 1 of 255, so images are black; multiply pixels in [0, 1] by 255")
    if len(indices) > 1 and 1 < int(pixels.max()) < DARK:
        brightest = f"the brightest pixel of {len(indices)} images is {int(pixels.max())} of 255"
        LOG.warning("warning: %s: %s; scale them where white is meant, or eps covers everything", where, brightest)
    check_maps(split, indices, shape[1], where)
