"""Datasets: real images, fixed splits, hashes that change with what they stand for, and errors that help."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from attrobust.benchmark.data.base import Loaded, evaluation_sha256, fixed_order, partners
from attrobust.benchmark.data.cifar10 import Cifar10
from attrobust.benchmark.data.digits import enlarge, read_scans
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.types import UsageError


def test_digits_have_three_fixed_splits_of_all_scans(digits: Loaded) -> None:
    sizes = {name: len(split) for name, split in digits.splits.items()}
    assert sizes == {"train": 1197, "val": 300, "test": 300}
    rows = torch.cat([split.pixels(range(len(split))).flatten(1) for split in digits.splits.values()])
    again = enlarge(load_digits().images.astype(np.int64), 28)
    assert sorted(map(bytes, rows.numpy())) == sorted(map(bytes, again.reshape(len(again), -1)))
    x, y = digits.splits["test"].batch(range(300))
    assert float(x.min()) == 0
    assert float(x.max()) == 1
    assert set(y.tolist()) == set(range(10))


def test_digits_are_the_same_bytes_everywhere(digits: Loaded) -> None:
    assert evaluation_sha256(digits.splits["test"], 64)[:16] == "25126a479a834f2f"
    assert digits.splits["train"].sha256[:16] == "31b80505873a96f5"


@pytest.mark.parametrize("known", [True, False], ids=["from the file", "from scikit-learn"])
def test_scans_are_those_of_scikit_learn(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not known:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    bunch, found = load_digits(), read_scans()
    assert found.dtype == np.int64
    assert np.array_equal(found[:, :-1].reshape(-1, 8, 8), bunch.images)
    assert np.array_equal(found[:, -1], bunch.target)


def test_enlargement_is_bilinear() -> None:
    images = load_digits().images[:20]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None] * 255 / 16, size=28, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    assert np.abs(enlarge(images.astype(np.int64), 28) - wanted).max() <= 0.5 + 1e-9


def test_normalisation_constants_are_those_of_the_training_images(digits: Loaded) -> None:
    x, _ = digits.splits["train"].batch(range(1197))
    assert float(x.mean()) == pytest.approx(digits.mean[0], abs=5e-4)
    assert float(x.std()) == pytest.approx(digits.std[0], abs=5e-4)


def test_the_order_is_a_fixed_shuffle() -> None:
    assert fixed_order(8) == [6, 2, 1, 7, 3, 0, 5, 4]
    assert sorted(fixed_order(1000)) == list(range(1000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Real digit scans as PNG files of two sizes in class folders."""
    bunch = load_digits()
    for split, part in (("train", range(40)), ("test", range(40, 60))):
        for i in part:
            path = tmp_path / split / f"digit{bunch.target[i]}"
            path.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((bunch.images[i] * 15.9).astype(np.uint8))
            image.resize((24, 20) if i % 2 else (16, 16)).save(path / f"{i}.png")
    return tmp_path


def test_an_image_folder_is_read_scaled_and_split(folder: Path) -> None:
    data = ImageFolder(size=16).load(folder)
    assert data.classes == tuple(f"digit{i}" for i in range(10))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 4, "test": 20}
    x, y = data.splits["test"].batch(range(20))
    assert x.shape == (20, 3, 16, 16)
    assert sorted(torch.bincount(y, minlength=10).tolist()) == sorted(
        np.bincount(load_digits().target[40:60], minlength=10).tolist()
    )
    again, _ = data.splits["test"].batch(range(20))
    assert torch.equal(x, again)


def test_a_folder_with_val_and_test_uses_both(folder: Path) -> None:
    (folder / "val").mkdir()
    (folder / "test" / "digit0").rename(folder / "val" / "digit0")
    data = ImageFolder(size=16).load(folder)
    assert set(data.splits["val"].labels.tolist()) == {0}
    assert len(data.splits["train"]) == 40


def test_hashes_change_with_an_image_a_label_and_the_count(folder: Path) -> None:
    def digest() -> tuple[str, str]:
        test = ImageFolder(size=16).load(folder).splits["test"]
        return evaluation_sha256(test, 20), test.sha256

    first = digest()
    assert digest() == first
    test = ImageFolder(size=16).load(folder).splits["test"]
    assert evaluation_sha256(test, 19) != first[0]
    victim = next((folder / "test" / "digit3").iterdir())
    Image.new("RGB", (16, 16), (9, 9, 9)).save(victim)
    changed = digest()
    assert changed[0] != first[0]
    assert changed[1] != first[1]
    victim.rename(folder / "test" / "digit4" / victim.name)
    assert digest()[1] not in (first[1], changed[1])


def test_hidden_folders_are_no_classes_and_nested_files_count(folder: Path) -> None:
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    nested = folder / "train" / "digit0" / "more"
    nested.mkdir()
    Image.new("RGB", (16, 16)).save(nested / "x.png")
    Image.new("RGB", (16, 16)).save(nested / ".hidden.png")
    data = ImageFolder(size=16).load(folder)
    assert len(data.classes) == 10
    assert len(data.splits["train"]) + len(data.splits["val"]) == 41


def test_sixteen_bit_grey_keeps_its_brightness_and_other_formats_are_refused(folder: Path) -> None:
    grey = np.full((16, 16), 128 * 256, dtype=np.uint16)
    victim = next((folder / "test" / "digit1").iterdir())
    Image.fromarray(grey).save(victim)
    split = ImageFolder(size=16).load(folder).splits["test"]
    assert any((split.pixels([i]) == 128).all() for i in range(20))
    victim.write_bytes(b"P6\n16 16\n65535\nshort")
    with pytest.raises(UsageError, match=victim.name):
        ImageFolder(size=16).load(folder).splits["test"].pixels(range(20))


def test_partners_are_of_another_class_and_do_not_depend_on_the_count(digits: Loaded) -> None:
    split = digits.splits["test"]
    few, many = partners(split, 5), partners(split, 300)
    assert many[:5] == few
    assert all(split.labels[i] != split.labels[j] for i, j in enumerate(many))
    assert evaluation_sha256(split, 5) != evaluation_sha256(split, 6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "test").rename(root / "holdout"), r"needs test/ \(or val/\) beside train/"),
        (
            lambda root: (root / "test" / "digit0").rename(root / "test" / "zero"),
            "has the class 'zero', which train/ lacks",
        ),
        (lambda root: [p.unlink() for p in (root / "test").rglob("*.png")], "holds no image files"),
    ],
)
def test_a_folder_that_cannot_be_used_says_what_is_wrong(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        ImageFolder(size=16).load(folder)


def test_missing_roots_and_damaged_files_are_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="--data-root"):
        ImageFolder().load(None)
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        ImageFolder().load(folder / "nowhere")
    victim = next((folder / "test" / "digit1").iterdir())
    victim.write_bytes(b"no picture")
    with pytest.raises(UsageError, match=victim.name):
        ImageFolder(size=16).load(folder).splits["test"].pixels(range(20))


@pytest.fixture
def cifar_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files laid out as CIFAR-10's, with few images, whose checksums torchvision is told to expect."""
    from torchvision.datasets import CIFAR10

    base = tmp_path / CIFAR10.base_folder
    base.mkdir()

    def write(name: str, value: object) -> str:
        data = pickle.dumps(value)
        (base / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    rng = np.random.default_rng(0)
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    for kind, names in (("train_list", [f"data_batch_{i}" for i in range(1, 6)]), ("test_list", ["test_batch"])):
        for name in names:
            batch = {"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(20)]}
            lists[kind].append([name, write(name, batch)])
    meta = {"label_names": [f"class{i}" for i in range(10)]}
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": write("batches.meta", meta)})
    for kind, value in lists.items():
        monkeypatch.setattr(CIFAR10, kind, value)
    return tmp_path


def test_cifar10_is_read_by_torchvision_and_split(cifar_files: Path) -> None:
    data = Cifar10().load(cifar_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "val": 10, "test": 20}
    assert data.classes == tuple(f"class{i}" for i in range(10))
    x, _ = data.splits["test"].batch([0])
    with (cifar_files / "cifar-10-batches-py" / "test_batch").open("rb") as file:
        raw = pickle.load(file)["data"][fixed_order(20)[0]]
    assert np.array_equal((x[0] * 255).round().numpy().astype(np.uint8).ravel(), raw)


def test_cifar10_that_is_missing_or_damaged_says_where_it_looked(
    cifar_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(UsageError, match=r"empty .*download failed .no network"):
        Cifar10().load(tmp_path / "empty")
    (cifar_files / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="--data-root"):
        Cifar10().load(cifar_files)
