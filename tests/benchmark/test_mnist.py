"""MNIST and Fashion-MNIST: the files that torchvision reads, downloads and checks, and the whole path on real ones."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision import datasets

from attrobust.benchmark.data.base import ArraySplit, Dataset, fixed_order
from attrobust.benchmark.data.mnist import FashionMnist, Mnist
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.loop import correct
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.types import UsageError

from helpers.light import trained
from helpers.runs import run

SETS = [(Mnist(), "MNIST"), (FashionMnist(), "FashionMNIST")]
IDS = [folder for _, folder in SETS]
PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def idx(values: np.ndarray[Any, Any]) -> bytes:
    """An array as a file of the IDX format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def contents() -> dict[str, bytes]:
    """The four files of a small dataset of either kind."""
    rng, files = np.random.default_rng(0), {}
    for part, count in (("train", 60), ("t10k", 20)):
        files[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write(root: Path, folder: str, files: dict[str, bytes]) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, data in files.items():
        (raw / name).write_bytes(data)
    return raw


@pytest.mark.parametrize(("dataset", "folder"), SETS, ids=IDS)
def test_files_are_read_by_torchvision_and_split(dataset: Dataset, folder: str, tmp_path: Path) -> None:
    files = contents()
    write(tmp_path, folder, files)
    data = dataset.load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 54, "val": 6, "test": 20}
    assert (data.channels, data.size, len(data.classes)) == (1, 28, 10)
    first = fixed_order(20)[0]
    x, y = data.splits["test"].batch([0])
    raw = np.frombuffer(files["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 28, 28)
    assert np.array_equal((255 * x[0, 0]).round().numpy().astype(np.uint8), raw[first])
    assert int(y[0]) == first % 10


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on this machine that torchvision takes for its own, with the folder that it serves."""
    served = tmp_path / "served"
    served.mkdir()
    resources = []
    for name, data in contents().items():
        packed = gzip.compress(data)
        (served / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    for source in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(source, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(source, "resources", resources)
    yield served
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("dataset", "folder"), SETS, ids=IDS)
def test_what_is_not_there_is_downloaded_and_checked(
    dataset: Dataset, folder: str, mirror: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert len(dataset.load(root).splits["test"]) == 20
    assert {path.name for path in (root / folder / "raw").glob("*ubyte")} == set(contents())
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(UsageError, match=rf"no intact {folder}/raw in .*download failed"):
        dataset.load(tmp_path / "other")


@pytest.mark.parametrize("name", [f"{part}-ubyte" for part in PARTS])
@pytest.mark.parametrize("data", [b"", b"\0\0\x08\x03no images", idx(np.zeros((3, 28, 28)))[:-5], None])
def test_damaged_files_and_files_that_are_not_there_are_one_line(
    name: str, data: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    raw = write(tmp_path, "FashionMNIST", contents())
    (raw / name).unlink() if data is None else (raw / name).write_bytes(data)
    with pytest.raises(UsageError, match=r"^fashion-mnist: .*train-images-idx3-ubyte") as found:
        FashionMnist().load(tmp_path)
    assert "\n" not in str(found.value)
    assert ("is damaged" in str(found.value)) == (data is not None)


def test_images_and_labels_of_different_numbers_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "MNIST", {**contents(), "train-labels-idx1-ubyte": idx(np.arange(59) % 10)})
    with pytest.raises(UsageError, match=r"^mnist: .*60 images.*59 labels"):
        Mnist().load(tmp_path)


def test_fashion_mnist_is_all_there(fashion_root: Path) -> None:
    data = FashionMnist().load(fashion_root)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 55_000, "val": 5_000, "test": 10_000}
    x, y = data.splits["train"].batch(range(len(data.splits["train"])))
    assert float(x.mean()) == pytest.approx(data.mean[0], abs=2e-3)
    assert float(x.std()) == pytest.approx(data.std[0], abs=2e-3)
    assert (torch.bincount(y, minlength=10) > 5000).all()


def test_a_network_learns_clothes(fashion_root: Path, tmp_path: Path) -> None:
    data = FashionMnist().load(fashion_root)
    few = {key: ArraySplit(split.pixels(range(1500)), split.labels[:1500]) for key, split in data.splits.items()}
    data = replace(data, splits=few)
    recipe = replace(load_recipe("mnist"), epochs=3, batch_size=32)
    model = trained("natural", LeNet(width=8, hidden=32), data, recipe, tmp_path).model
    assert correct(model, few["test"], 500, torch.device("cpu")).double().mean() > 0.7


def test_the_command_runs_on_clothes(fashion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the first images of the real files, in files of their own."""
    raw, few = fashion_root / "FashionMNIST" / "raw", {}
    for part, count in (("train", 1200), ("t10k", 40)):
        images = np.frombuffer((raw / f"{part}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
        few[f"{part}-images-idx3-ubyte"] = idx(images.reshape(-1, 28, 28)[:count])
        labels = np.frombuffer((raw / f"{part}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
        few[f"{part}-labels-idx1-ubyte"] = idx(labels[:count])
    write(tmp_path / "data", "FashionMNIST", few)
    words = ["--methods", "natural", "--dataset", "fashion-mnist", "--data-root", tmp_path / "data"]
    words += [
        "--model",
        "lenet:width=8,hidden=32",
        "--eps",
        "8/255",
        "--images",
        "8",
        "--explainers",
        "saliency",
        "--epochs",
        "1",
    ]
    words += ["--attacks", "noise:draws=2,topk:steps=8", "--metrics", "topk,cosine", "--baselines", "none"]
    code, out, _ = run([*words, "--no-audit", "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "fashion-mnist" in out
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    table = table[(table["subset"] == "all") & (table["metric"] == "Cosine")]
    means = table.groupby("attack")["mean"].mean()
    assert means["topk:steps=8"] < means["noise:draws=2"]
