"""The contract of datasets."""

from __future__ import annotations

from typing import get_args

import torch

from attrobust.benchmark.contract.bench import Bench
from attrobust.benchmark.contract.claims import Contract, require
from attrobust.benchmark.data.base import Dataset, Split
from attrobust.benchmark.data.checks import DARK, checked, read_all
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.process import seed_all
from attrobust.types import SplitName

CONTRACT: Contract[Dataset] = Contract("dataset", Dataset, "load")
LOOKED_AT = 256
"""Number of images of a split that are looked at."""
SHARED = 0.01
"""Share of the test images that may be training images too, as in published datasets."""
FIRST = 32
"""Number of images that an evaluation looks at by default."""


def few(split: Split) -> list[int]:
    """Positions that are looked at: the first, and the last."""
    return sorted({*range(min(LOOKED_AT, len(split))), len(split) - 1})


@CONTRACT.claim()
def data_are_as_stated(dataset: Dataset, bench: Bench) -> None:
    """Splits hold images, classes, masks and gaze maps as Loaded says, and tests are not what is trained on."""
    label = type(dataset).__name__
    data = checked(bench.loaded(dataset), label)
    read_all(data, get_args(SplitName), label)
    known = set(data.splits["train"].image_hashes())
    test = data.splits["test"].image_hashes()
    shared = sum(image in known for image in test)
    problem = f"{shared} of {len(test)} test images are training images too; keep them apart"
    require(shared <= SHARED * len(test), problem)


@CONTRACT.claim(short=True)
def recipe_exists(dataset: Dataset, bench: Bench) -> None:
    """It names a training recipe that there is."""
    load_recipe(type(dataset).recipe)


@CONTRACT.claim()
def classes_are_mixed(dataset: Dataset, bench: Bench) -> None:
    """Classes are mixed: the first images of a split are not all of one class."""
    for name, split in bench.loaded(dataset).splits.items():
        first = split.labels[:FIRST]
        problem = f"the first {len(first)} images of {name} are all of class {int(first[0])}"
        require(len(first) < 2 or len(set(first.tolist())) > 1, f"{problem}; shuffle them once, in a fixed order")


@CONTRACT.claim()
def pixels_have_a_range(dataset: Dataset, bench: Bench) -> None:
    """Pixels use the range from 0 to 255, and not every image is flat."""
    for name, split in bench.loaded(dataset).splits.items():
        pixels = split.pixels(few(split))
        high = int(pixels.max())
        require(high >= DARK, f"the brightest pixel of {name} is {high} of 255, which is white; scale the pixels")
        flat = pixels.flatten(1).amin(dim=1) == pixels.flatten(1).amax(dim=1)
        require(not bool(flat.all()), f"every image of {name} is of one colour")


@CONTRACT.claim()
def statistics_fit(dataset: Dataset, bench: Bench) -> None:
    """Mean and std are those of pixels in [0, 1]."""
    loaded = bench.loaded(dataset)
    problem = f"mean {loaded.mean} and std {loaded.std} must be of pixels in [0, 1]"
    require(all(0 <= value <= 1 for value in loaded.mean) and all(0 < value <= 1 for value in loaded.std), problem)


@CONTRACT.claim()
def loading_is_deterministic(dataset: Dataset, bench: Bench) -> None:
    """Loading twice gives the same images, classes, order and hashes."""
    first = bench.loaded(dataset)
    seed_all(1)
    again = dataset.load(bench.data_root)
    for name, split in first.splits.items():
        other = again.splits[name]
        rows = few(split)
        same = len(split) == len(other) and torch.equal(split.labels, other.labels)
        same = same and torch.equal(split.pixels(rows), other.pixels(rows)) and split.sha256 == other.sha256
        require(same, f"two loads differ in {name}; fix the order and every random number by a seed")
    hashes = [split.sha256 for split in first.splits.values()]
    require(len(set(hashes)) == len(hashes), "two splits have the same sha256; hash images, classes and order")


@CONTRACT.claim()
def images_are_stable(dataset: Dataset, bench: Bench) -> None:
    """An image is the same alone, in any order, and after others changed it."""
    for name, split in bench.loaded(dataset).splits.items():
        rows = few(split)[:8]
        wanted = split.pixels(rows).clone()
        turned = split.pixels(rows[::-1])
        require(
            torch.equal(turned.flip(0), wanted), f"pixels of {name} are not in the order of the positions asked for"
        )
        alone = torch.cat([split.pixels([row]) for row in rows])
        require(torch.equal(alone, wanted), f"an image of {name} is another one alone and in a batch")
        labels = split.labels.clone()
        x, y = split.batch(rows)
        split.pixels(rows).zero_()
        x.zero_()
        y.zero_()
        same = torch.equal(split.pixels(rows), wanted) and torch.equal(split.labels, labels)
        require(same, f"whoever writes into a batch of {name} changes its images; return copies")
