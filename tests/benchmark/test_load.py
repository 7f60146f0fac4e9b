"""``attrobust.load`` opens what a run has trained, and ``load_run`` all of it by the names of the table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import attrobust
from attrobust import UsageError
from attrobust.benchmark.command.main import main
from attrobust.benchmark.data.digits import Digits

from helpers.runs import COARSE, FAST

METHODS = "natural,advgrad:eps={4/255,8/255}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    words = [*FAST, *COARSE, "--methods", METHODS, "--epochs", "1", "--workers", "1", "--out", str(folder)]
    assert main(words) == 0
    return folder


def stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "checkpoints").glob("*.pt"))


def test_names_of_weights_say_their_settings(trained: Path) -> None:
    names = [stem.partition("-seed0-")[0] for stem in stems(trained)]
    assert names == ["advgrad-eps4-255", "advgrad-eps8-255", "natural"]


def test_weights_of_a_run_are_opened_by_their_path(trained: Path) -> None:
    x, y = Digits(size=16).load(None).splits["test"].batch(range(300))
    frame = attrobust.results(trained).set_index("method")
    networks = attrobust.load_run(trained)
    assert [*networks] == ["natural", "advgrad:eps=4/255", "advgrad:eps=8/255"]
    for (label, network), stem in zip(sorted(networks.items()), stems(trained), strict=True):
        other = attrobust.load(trained / "checkpoints" / f"{stem}.pt")
        assert torch.equal(network(x), other(x))
        accuracy = float(100 * (network(x).argmax(dim=1) == y).double().mean())
        lines = frame.loc[label]
        assert round(accuracy, 1) == lines[lines.metric == "accuracy (%)"]["mean"].iloc[0]


def test_a_run_whose_names_have_no_settings_goes_on(trained: Path, tmp_path: Path) -> None:
    """Names of earlier versions."""
    folder = tmp_path / "older"
    shutil.copytree(trained, folder)
    for path in sorted((folder / "checkpoints").iterdir()):
        path.rename(path.with_name(path.name.replace("-eps4-255", "").replace("-eps8-255", "")))
    shutil.rmtree(folder / "pieces", ignore_errors=True)
    before = stems(folder)
    words = [*FAST, *COARSE, "--methods", METHODS, "--epochs", "1", "--workers", "1", "--out", str(folder)]
    assert main([*words, "--images", "7"]) == 0
    assert stems(folder) == before
    assert main(["verify", str(folder)]) == 0


def test_what_cannot_be_opened_is_said(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.pt").write_bytes(b"")
    cases = {
        "digits/agaa": "Did you mean 'digits/aga'",
        str(tmp_path / "none.pt"): "there is no file",
        str(tmp_path / "alone.pt"): "has no card beside it",
        str(trained): "attrobust.load_run opens the networks of a run",
    }
    for name, said in cases.items():
        with pytest.raises(UsageError, match=said):
            attrobust.load(name)
    with pytest.raises(UsageError, match=r"Did you mean 'natural'.*advgrad:eps=4/255"):
        attrobust.load_run(trained)["natura"]
    with pytest.raises(UsageError):
        attrobust.load_run(tmp_path)
