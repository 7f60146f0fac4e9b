"""What --dry-run says of a run is held to the run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.run.estimate import _Trials
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import ImageFacts

from helpers.runs import run

Capture = pytest.CaptureFixture[str]
WORDS = ["--methods", "natural", "--explainers", "saliency", "--baselines", "none", "--no-audit", "--batch-size", "4"]
WORDS += ["--accuracy-attack", "none", "--attacks", "noise:draws=3,topk:steps=5", "--metrics", "cosine,gini"]


def said(words: list[str], capsys: Capture) -> dict[str, str]:
    """What the last part of a dry run says, by its first words; empty where it says only how far the run has come."""
    code, out, err = run([*words, "--dry-run"], capsys)
    assert code == 0, err
    *before, last = out.split("\n\n")
    return dict(line.split(maxsplit=1) for line in last.splitlines()) if before else {}


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+(?= (?:forward|backward|double))", text)]


def bytes_of(text: str) -> list[float]:
    units = {"kB": 1e3, "MB": 1e6}
    return [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (kB|MB)", text)]


def size(folder: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def test_jobs_passes_and_disk_are_those_of_the_run(tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, "--images", "12", "--out", str(tmp_path / "run")]
    told = said(words, capsys)
    assert told["jobs"] == "1 measurement of clean accuracy, 9 batches of at most 4 images"
    assert not (tmp_path / "run").exists()
    assert run(words, capsys)[0] == 0
    rows = [row for row in Store(tmp_path / "run").rows().values() if isinstance(row, ScoredRow)]
    attacks = {row.cell.attack.get("name"): row.passes for row in rows if row.cell.attack or not row.cell.explainer}
    assert attacks[None].forward == 300, "clean accuracy is that of the whole test split"
    # Beside those of attacks there are those of scoring: a few for every image and attack.
    for name, found in zip(("forward", "backward", "double_backward"), numbers(told["passes"]), strict=True):
        counted = sum(getattr(passes, name) for passes in attacks.values())
        assert counted <= found <= counted + 12 * 12, name
    most, kept = bytes_of(told["disk"])
    assert 0.3 * kept < size(tmp_path / "run" / "attacked") <= kept
    assert 0.3 * most < size(tmp_path / "run") <= most
    assert said(words, capsys) == {}, "nothing is left"


def test_only_what_is_new_is_counted(tmp_path: Path, capsys: Capture) -> None:
    few, more = ([*WORDS, "--images", count, "--out", str(tmp_path)] for count in ("8", "12"))
    whole = said(more, capsys)
    assert run(few, capsys)[0] == 0
    rest = said(more, capsys)
    assert rest["jobs"] == "3 batches of at most 4 images"
    # Clean accuracy, of 300 images, is not measured again.
    for part, all_ in zip(numbers(rest["passes"]), numbers(whole["passes"]) - np.array([300, 0, 0]), strict=True):
        assert part == pytest.approx(all_ / 3, rel=0.02, abs=1)
    # Attacks are kept, so that another metric takes but the passes of its maps.
    scored = said([*few, "--metrics", "cosine,gini,spearman"], capsys)
    assert scored["jobs"] == "4 batches of at most 4 images"
    assert "attacked images" not in scored["disk"]


def test_trainings_are_timed_and_nothing_is_trained(tmp_path: Path, capsys: Capture) -> None:
    words = [*WORDS, "--images", "4", "--retrain", "--epochs", "3", "--model", "lenet:width=4,hidden=8"]
    told = said([*words, "--out", str(tmp_path / "run")], capsys)
    assert told["jobs"] == "1 training, 1 measurement of clean accuracy, 3 batches of at most 4 images"
    assert ", trainings " in told["time"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("workers", "cores", "times"), [("1", 2, 0), ("2", 2, 1), ("3", 2, 1.5), ("2", 64, 1)])
def test_starting_processes_takes_time(
    workers: str, cores: int, times: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("attrobust.benchmark.run.computing.seconds_to_start", lambda _: 3600)
    monkeypatch.setattr("attrobust.benchmark.run.computing.cores", lambda: cores)
    told = said([*WORDS, "--images", "4", "--workers", workers, "--out", str(tmp_path)], capsys)
    (hours,) = [float(number) for number in re.findall(r", starting ([\d.]+) h", told["time"])] or [0]
    assert hours == times
    assert told["time"].startswith(f"about {times:.1f} h" if times else "about ")
    assert (" h " in told["time"]) == bool(times)


def test_what_cannot_be_tried_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("attrobust.benchmark.run.estimate.PATIENCE", 0)
    told = said([*WORDS, "--images", "4", "--out", str(tmp_path)], capsys)
    assert told["besides"] == "not tried out: saliency / noise:draws=3, saliency / topk:steps=5, saliency"
    assert numbers(told["passes"]) == [300, 0, 0], "of clean accuracy alone"


def test_when_there_is_no_time_left_a_like_job_stands_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = _Trials()
    assert trials.of("topk on one network", "topk", lambda: 3, like="topk") == 3
    monkeypatch.setattr("attrobust.benchmark.run.estimate.PATIENCE", 0)
    assert trials.of("topk on another", "topk", lambda: 4, like="topk") == 3
    assert trials.of("frame", "frame", lambda: 5, like="frame") is None
    assert trials.unknown == ("frame",)


def test_a_run_says_how_large_attacked_images_may_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("attrobust.benchmark.run.disk.WORTH_SAYING", 1)
    words = [*WORDS, "--images", "4", "--metrics", "cosine", "--out", str(tmp_path / "run")]
    code, _, err = run(words, capsys)
    assert code == 0
    (line,) = (line for line in err.splitlines() if line.startswith("attacked images: at most"))
    assert size(tmp_path / "run" / "attacked") <= bytes_of(line)[0]
    monkeypatch.setattr("attrobust.benchmark.run.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    assert "has only 1 kB free" in run([*words[:-1], str(tmp_path / "full")], capsys)[2]
    assert "attacked images" not in run([*words[:-1], str(tmp_path / "none"), "--keep-images", "none"], capsys)[2]


def photographs(folder: Path, side: int) -> list[str]:
    """A folder of noise to evaluate a checkpoint on, and the words that do so."""
    random = np.random.default_rng(0)
    for number in range(4):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"class{number % 2}" / f"{number}.png")
    facts = ImageFacts(channels=3, size=side, classes=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.save(LeNet(width=2, hidden=4).build(facts).state_dict(), folder.parent / "weights.pt")
    words = ["--dataset", f"imagefolder:size={side}", "--data-root", str(folder), "--images", "2"]
    words += ["--checkpoint", f"mine={folder.parent / 'weights.pt'}:lenet:width=2,hidden=4", "--no-audit"]
    return [*words, "--baselines", "none", "--accuracy-attack", "none", "--metrics", "cosine"]


def test_passes_are_counted_where_settings_suit_large_images_only(tmp_path: Path, capsys: Capture) -> None:
    words = [*photographs(tmp_path / "photographs", 64), "--explainers", "saliency", "--attacks", "topk:k=2000,steps=2"]
    assert numbers(said([*words, "--out", str(tmp_path / "run")], capsys)["passes"])[2] > 0
