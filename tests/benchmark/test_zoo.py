"""Every shipped checkpoint is what its card says, and the list of them shows it at once."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import attrobust
from attrobust import UsageError, load
from attrobust.benchmark import data
from attrobust.benchmark.checkpoints import card as cards
from attrobust.benchmark.checkpoints.card import SHIPPED, WeightCard, checkpoints, shipped
from attrobust.benchmark.checkpoints.publish import LARGEST
from attrobust.benchmark.data.base import Dataset, Loaded
from attrobust.benchmark.statistics import wilson
from attrobust.benchmark.training.loop import correct
from attrobust.files import file_sha256
from attrobust.naming.component import resolve_one

from helpers.runs import ROOT, run

CPU = torch.device("cpu")
SAMPLE = 1000
"""Test images that an accuracy is measured again on, at most."""
EMBEDDED = ("digits", "shapes")
"""Datasets that need no files."""
HERE = [name for name, card in checkpoints().items() if card.published and not card.published.url]
"""Checkpoints whose weights lie beside their cards."""


@functools.cache
def images_of(name: str, settings: tuple[tuple[str, object], ...]) -> Loaded:
    spec = ",".join(f"{key}={value}" for key, value in settings)
    root = os.environ.get("ATTROBUST_DATA")
    if name not in EMBEDDED and root is None:
        pytest.skip(f"ATTROBUST_DATA names no folder with {name}")
    item = resolve_one(data.registry, f"{name}:{spec}" if spec else name, Dataset).item
    try:
        return item.load(None if root is None else Path(root))
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", shipped())
def test_a_card_says_where_its_weights_are_from_and_the_file_is_theirs(name: str) -> None:
    card = WeightCard.read(shipped()[name])
    assert card.licence
    assert card.published is not None
    assert card.published.commit
    assert not any(card.plugins)
    file = SHIPPED / f"{name}.pt"
    assert file.is_file() == (not card.published.url)
    if file.is_file():
        assert file_sha256(file) == card.sha256
        assert file.stat().st_size == card.published.size
    if card.published.precision == "float16" and card.images.size <= 28:
        assert card.published.size < LARGEST


@pytest.mark.parametrize("name", HERE)
def test_weights_are_finite_of_the_stated_precision_and_compute_in_float32(name: str) -> None:
    published = checkpoints()[name].published
    assert published is not None
    stored = torch.load(SHIPPED / f"{name}.pt", weights_only=True)
    wanted = torch.float16 if published.precision == "float16" else torch.float32
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {wanted}
    network = load(name)
    for key, value in network.state_dict().items():
        assert value.isfinite().all()
        assert value.dtype == (torch.float32 if value.is_floating_point() else stored[key].dtype)
        assert torch.equal(value, stored[key].to(value.dtype))


@pytest.mark.parametrize("name", HERE)
def test_test_accuracy_is_that_of_the_card(name: str) -> None:
    card = checkpoints()[name]
    assert card.published is not None
    images = images_of(card.dataset["name"], tuple(card.dataset["settings"].items()))
    split = images.splits["test"]
    assert len(split) == card.published.test_images
    assert images.splits["train"].sha256 == card.dataset["train_sha256"]
    assert images.splits["val"].sha256 == card.dataset["val_sha256"]
    count = min(SAMPLE, len(split))
    hits = int(correct(load(name), split, count, CPU).sum())
    if count == len(split):
        assert hits / count == pytest.approx(card.published.test_accuracy, abs=1 / count + 1e-9)
    low, high = wilson(hits, count, 0.9999)
    assert low <= card.published.test_accuracy <= high
    assert card.published.test_accuracy > 0.6


def test_the_list_shows_every_checkpoint_in_aligned_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(["--list", "checkpoints"], capsys)
    assert code == 0
    title, header, *lines = out.splitlines()
    assert title == "checkpoints:"
    titles = ["name", "dataset", "model", "method", "test accuracy", "epochs", "seed", "size", "sha256", "licence"]
    assert [word.strip() for word in header.split("  ") if word.strip()] == titles
    assert [line.split()[0] for line in lines] == list(shipped())
    (aga,) = (line for line in lines if line.split()[0] == "digits/aga")
    assert " ".join(aga.split()) == "digits/aga digits lenet aga 98.67 % 20 0 474 kB 7e67e80c0543 MIT"
    for column in ("sha256", "licence"):
        start = header.index(column)
        assert all(line[start - 1] == " " and line[start] != " " for line in lines)


def test_the_length_of_a_training_is_without_that_of_the_weights_it_started_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = run(["--list", "checkpoints"], capsys)
    (cure,) = (line.split() for line in out.splitlines() if line.split()[0] == "digits/cure")
    assert cure[6] == "10"
    _, out, _ = run(["--list", "checkpoints:digits/cure"], capsys)
    assert "starts    from natural\n" in out
    assert " of 10, of highest accuracy on the validation split" in out


def test_a_card_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["--list", "checkpoints:digits/aga"], capsys)
    assert code == 0
    card = checkpoints()["digits/aga"]
    for fact in (
        card.sha256,
        card.code,
        "commit    unknown",
        "licence   MIT",
        "99.33 % on the validation split, 98.67 % on all 300 test images",
        "474 kB, float32, version 1",
        'attrobust.load("digits/aga")',
    ):
        assert fact in out
    assert max(map(len, out.splitlines())) <= 112


def test_an_unknown_name_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["--list", "checkpoints:digits/agga"], capsys)
    assert code == 2
    assert "unknown checkpoint 'digits/agga'. Did you mean 'digits/aga'? Known: digits/advgrad, digits/aga" in err
    with pytest.raises(UsageError, match="Did you mean 'digits/hessian'"):
        load("digits/hesian")


def test_python_has_the_cards_too() -> None:
    found = attrobust.checkpoints()
    assert list(found) == list(shipped())
    published = found["digits/aga"].published
    assert published is not None
    assert published.test_accuracy == pytest.approx(0.98667, abs=1e-5)


def test_eighty_cards_are_listed_without_torch_and_at_once(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    for index in range(80):
        shutil.copy(SHIPPED / "digits" / "aga.toml", tmp_path / "digits" / f"aga-seed{index}.toml")
    code = (
        "import sys, time\nbegan = time.process_time()\n"
        "from attrobust.benchmark.checkpoints import card\nfrom pathlib import Path\n"
        "card.SHIPPED = Path(sys.argv[1])\n"
        "from attrobust.benchmark.command.main import main\n"
        "main(['--list', 'checkpoints'])\n"
        "assert not {'torch', 'captum', 'numpy'} & set(sys.modules)\n"
        "print(time.process_time() - began)\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("digits/aga-seed") == 80
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 0.6


def test_a_card_that_is_damaged_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    text = (SHIPPED / "digits" / "aga.toml").read_text()
    (tmp_path / "digits" / "aga.toml").write_text(text.replace("test_images = 300", "test_images = 0"))
    monkeypatch.setattr(cards, "SHIPPED", tmp_path)
    with pytest.raises(UsageError, match=r"not a weight card: .*aga\.toml: .*test_images"):
        load("digits/aga")
