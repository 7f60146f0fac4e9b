"""A dataset is what it says before anything is trained on it, and stays so while a run reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attrobust.benchmark.data.base import ArraySplit, Loaded, Split
from attrobust.benchmark.data.checks import checked, read_all
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.data.fixed import FixedSplit
from attrobust.benchmark.data.shapes import MaskedSplit
from attrobust.types import SplitName, UsageError

from helpers.runs import FAST, run

ALL: tuple[SplitName, ...] = ("train", "val", "test")


class Lazy(Split):
    """A plug-in's split of digits, whose images can be changed behind the run's back."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.pixels(range(len(split))), split.labels.clone()
        self.looks = self.images[:, 0].float() / 255
        self.ink = self.images[:, 0] > 127

    def pixels(self, indices: Sequence[int]) -> Tensor:
        return self.images[torch.as_tensor(indices)]

    @property
    def sha256(self) -> str:
        return "the same whatever happens"

    @property
    def has_masks(self) -> bool:
        return True

    def masks(self, indices: Sequence[int]) -> Tensor:
        return self.ink[torch.as_tensor(indices)]

    @property
    def has_gaze(self) -> bool:
        return True

    def gaze(self, indices: Sequence[int]) -> Tensor:
        return self.looks[torch.as_tensor(indices)]


@pytest.fixture
def own(digits: Loaded) -> Loaded:
    """The digits as a plug-in's dataset."""
    return replace(digits, splits={name: Lazy(split) for name, split in digits.splits.items()})


def with_test(data: Loaded, **changes: object) -> Loaded:
    """The dataset with something else in its test split."""
    for name, value in changes.items():
        setattr(data.splits["test"], name, value)
    return data


def lazy(data: Loaded) -> Lazy:
    split = data.splits["test"]
    assert isinstance(split, Lazy)
    return split


SPOILED: dict[str, tuple[Callable[[Loaded], object], str]] = {
    "no Loaded": (lambda data: data.splits, "load returned dict, not Loaded"),
    "no val": (
        lambda data: replace(data, splits={name: data.splits[name] for name in ("train", "test")}),
        "there is no split val; Loaded.splits needs train, val, test",
    ),
    "no split": (
        lambda data: replace(data, splits={**data.splits, "val": [1]}),
        "split val must be a Split with labels",
    ),
    "no images": (lambda data: with_test(data, labels=torch.zeros(0, dtype=torch.int64)), "split test has no images"),
    "label beyond": (
        lambda data: replace(data, classes=data.classes[:9]),
        "split train: labels go from 0 to 9, and 9 classes are named",
    ),
    "negative label": (
        lambda data: with_test(data, labels=lazy(data).labels - 1),
        "split test: labels go from -1 to 8",
    ),
    "float labels": (
        lambda data: with_test(data, labels=lazy(data).labels.float()),
        "split test: labels must be int64, one for each of 300 images, not torch.float32 300",
    ),
    "one class": (lambda data: replace(data, classes=("digit",)), "classes must be at least two different names"),
    "same class": (lambda data: replace(data, classes=("0",) * 10), "classes must be at least two different names"),
    "other size": (
        lambda data: replace(data, size=32),
        "split train: images are 1×28×28, and the dataset says 1×32×32",
    ),
    "other channels": (
        lambda data: replace(data, channels=3, mean=(0.3,) * 3, std=(0.3,) * 3),
        "split train: images are 1×28×28, and the dataset says 3×28×28",
    ),
    "fewer means": (lambda data: replace(data, channels=3), "mean and std have 1 and 1 values, and images 3 channels"),
    "zero std": (lambda data: replace(data, std=(0.0,)), "std above 0"),
    "no mean": (lambda data: replace(data, mean=(float("nan"),)), "must be finite"),
    "floats": (
        lambda data: with_test(data, images=lazy(data).images / 255),
        "split test: pixels must be uint8 from 0 to 255, not torch.float32: they are divided by 255",
    ),
    "0 and 1": (lambda data: with_test(data, images=lazy(data).images // 200), "no pixel is above 1 of 255"),
    "float masks": (
        lambda data: with_test(data, ink=lazy(data).looks),
        "masks must be bool 64×28×28, not torch.float32",
    ),
    "bright gaze": (lambda data: with_test(data, looks=2 * lazy(data).looks), "split test: gaze must be in"),
    "no gaze": (lambda data: with_test(data, looks=lazy(data).looks / 0), "split test: gaze must be in"),
    "one odd image": (
        lambda data: with_test(data, looks=lazy(data).looks.index_fill(0, torch.tensor([299]), 3.0)),
        "split test: gaze must be in",
    ),
    "trained on": (
        lambda data: replace(data, splits={**data.splits, "train": data.splits["test"]}),
        "every test image is also a training image",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_a_dataset_that_is_not_what_it_says_is_refused_in_one_line(
    own: Loaded, spoil: Callable[[Loaded], Loaded], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^mine.*{message}") as error:
        read_all(checked(spoil(own), "mine"), ALL, "mine")
    assert len(str(error.value).splitlines()) == 1


def test_a_dataset_that_is_what_it_says_keeps_images_labels_and_hashes(own: Loaded, said: list[str]) -> None:
    data = checked(own, "mine")
    read_all(data, ALL, "mine")
    for name, split in data.splits.items():
        assert torch.equal(split.pixels(range(9)), own.splits[name].pixels(range(9)))
        assert torch.equal(split.masks([3, 1]), own.splits[name].masks([3, 1]))
        assert torch.equal(split.gaze([3, 1]), own.splits[name].gaze([3, 1]))
        assert torch.equal(split.labels, own.splits[name].labels)
        assert split.sha256 == own.splits[name].sha256
    assert said == []


@pytest.mark.parametrize("data", [Digits()], ids=["digits"])
def test_our_datasets_are_what_they_say(data: Digits, said: list[str]) -> None:
    loaded = data.load(None)
    found = checked(loaded, "digits")
    read_all(found, ALL, "digits")
    assert found.splits == loaded.splits, "they are held in memory and read as they are"
    assert said == []


@pytest.mark.parametrize(("part", "read"), [("images", "pixels"), ("ink", "masks"), ("looks", "gaze")])
def test_what_changes_after_the_start_is_not_read(own: Loaded, part: str, read: str) -> None:
    data = checked(own, "mine")
    read_all(data, ALL, "mine")
    values = getattr(own.splits["test"], part)
    values[7, ..., 10:20, 10:20] = values[8, ..., 10:20, 10:20]
    split = data.splits["test"]
    getattr(split, read)([6, 8])
    with pytest.raises(UsageError, match=r"split test: its .* changed since the run started"):
        getattr(split, read)([6, 7])


def test_labels_that_change_after_the_start_are_those_of_the_start(own: Loaded) -> None:
    data = checked(own, "mine")
    before = data.splits["test"].labels.clone()
    own.splits["test"].labels.zero_()
    assert torch.equal(data.splits["test"].labels, before)


def test_images_in_two_splits_are_counted(own: Loaded, said: list[str]) -> None:
    lazy(own).images[:5] = own.splits["train"].pixels(range(5))
    lazy(own).images[5:8] = own.splits["val"].pixels(range(3))
    read_all(checked(own, "mine"), ALL, "mine")
    assert said == [
        "warning: mine: 5 of 300 test images are also in the split train",
        "warning: mine: 3 of 300 test images are also in the split val",
    ]


def test_a_split_that_overrides_batch_is_refused(own: Loaded) -> None:
    class Normalised(Lazy):
        def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
            x, y = super().batch(indices)
            return (x - 0.3) / 0.3, y

    splits = {**own.splits, "val": Normalised(own.splits["val"])}
    with pytest.raises(UsageError, match="mine, split val: Normalised overrides batch"):
        checked(replace(own, splits=splits), "mine")


def test_a_hash_that_is_none_is_refused(own: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lazy, "sha256", property(lambda _: None))
    with pytest.raises(UsageError, match="split train: sha256 must be a text"):
        read_all(checked(own, "mine"), ALL, "mine")


def test_a_split_in_memory_takes_bytes_and_one_class_for_each(digits: Loaded) -> None:
    pixels, labels = digits.splits["val"].pixels(range(4)), digits.splits["val"].labels[:4]
    for images, classes, message in (
        (pixels / 255, labels, "ArraySplit: images must be uint8"),
        (pixels[:, 0], labels, "ArraySplit: images must be a tensor B×C×H×W, not 4×28×28"),
        (pixels, labels[:3], "ArraySplit: labels must be int64, one for each of 4 images, not torch.int64 3"),
        (pixels, labels.float(), "ArraySplit: labels must be int64"),
    ):
        with pytest.raises(UsageError, match=message):
            ArraySplit(images, classes)
    with pytest.raises(UsageError, match="MaskedSplit: images must be uint8"):
        MaskedSplit(pixels / 255, labels, pixels[:, 0] > 0)


def test_float_pixels_are_never_divided_by_255(own: Loaded) -> None:
    split = with_test(own, images=lazy(own).images / 255).splits["test"]
    with pytest.raises(UsageError, match=r"Lazy.pixels must be uint8 .*turn pixels in \[0, 1\] into"):
        split.batch(range(4))


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from attrobust import ArraySplit, Dataset, Loaded, Split, register_dataset
from attrobust.benchmark.data.digits import Digits

class Floats(Split):
    def __init__(self, split):
        self.split, self.labels = split, split.labels
    def pixels(self, indices):
        return self.split.pixels(indices).float() / 255
    @property
    def sha256(self):
        return self.split.sha256

@register_dataset("floats")
@dataclass(frozen=True, kw_only=True)
class FloatDigits(Dataset):
    recipe: ClassVar[str] = "digits"
    def load(self, root):
        data = Digits().load(None)
        splits = {name: Floats(split) for name, split in data.splits.items()}
        return Loaded(splits=splits, classes=data.classes, channels=1, size=28, mean=data.mean, std=data.std)
"""


def test_a_plug_in_with_float_pixels_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "floats.py").write_text(PLUGIN)
    words = ["--plugin", tmp_path / "floats.py", "--dataset", "floats", "--methods", "natural", "--epochs", "1"]
    code, _, err = run([*words, "--out", tmp_path / "run", *FAST], capsys)
    assert code == 2
    assert "floats, split train: pixels must be uint8 from 0 to 255, not torch.float32" in err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_fixed_splits_are_read_once_to_know_them(own: Loaded) -> None:
    calls: list[int] = []

    class Counting(Lazy):
        def pixels(self, indices: Sequence[int]) -> Tensor:
            calls.extend(int(index) for index in indices)
            return super().pixels(indices)

    split = FixedSplit(Counting(own.splits["val"]), (1, 28, 28), "mine, split val")
    assert split.sha256
    assert len(split.image_hashes()) == 300
    assert sorted(calls) == list(range(300))


def test_data_that_are_dark_throughout_are_warned_of(digits: Loaded, said: list[str]) -> None:
    splits = {
        name: ArraySplit(split.pixels(range(80)) // 16, split.labels[:80]) for name, split in digits.splits.items()
    }
    checked(replace(digits, splits=splits), "dark")
    assert "dark, split train: the brightest pixel of 64 images is 15 of 255; scale them" in said[0]
