"""The scripts in ``examples/`` run, and print what they promise."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers.boards import ATTACK, NAME, made
from helpers.runs import SMALL, run

ROOT = Path(__file__).parents[2]


def printed(name: str, *words: str | Path, code: int = 0) -> str:
    """What a script prints to stdout from a folder of its own; it must end with this exit code."""
    line = [sys.executable, str(ROOT / "examples" / name), *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_network_of_ones_own_is_evaluated() -> None:
    out = printed("evaluate_your_network.py", "--images", "6", "--epochs", "2", "--attack-steps", "5")
    numbers = dict(re.findall(r"^(.+?)  +([\d.]+)", out, flags=re.M))
    assert float(numbers["accuracy on 300 test images"]) > 80
    assert float(numbers["largest change of a pixel"]) <= 16
    assert float(numbers["predictions that stayed"]) == 100
    assert 0 < float(numbers["top-10 % intersection"]) < 0.9
    assert 0 < float(numbers["Spearman correlation"]) < 0.99


def test_a_published_number_is_contested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = made(tmp_path) / NAME
    words = ("--method", "natural", "--attack", ATTACK, "--images", "4", "--steps", "10")
    out = printed("contest_a_number.py", board, *words, "--out", tmp_path / "images.npz")
    assert f"wrote 4 images of natural (seed 0) / saliency / {ATTACK}" in out
    code, out, err = run(["verify", board, "--stronger", tmp_path / "images.npz", "--by", "A. Finder"], capsys)
    assert code == 0, err
    assert "numbers contested by A. Finder" in out


def test_a_method_of_ones_own_is_benchmarked(tmp_path: Path) -> None:
    short = (*SMALL, "--images", "4", "--epochs", "1", "--no-audit", "--accuracy-attack", "none", "--baselines", "none")
    out = printed("write_a_method.py", *short, "--out", tmp_path / "run")
    assert {"natural", "logit-penalty:weight=0.01", "logit-penalty:weight=0.1"} <= {
        line.split()[0] for line in out.splitlines() if line
    }


def test_a_table_is_computed_again_and_compared_with_the_readme(tmp_path: Path) -> None:
    short = ("--images", "4", "--explainers", "saliency", "--attacks", "topk:steps=30", "--no-audit")
    short += ("--accuracy-attack", "none")
    out = printed("reproduce_a_table.py", *short, "--out", tmp_path / "run", code=1)
    compared = out[out.rindex("saliency, topk:steps=30") :].splitlines()
    # The accuracy on all test images does not depend on how many are attacked: four rows, and it is the README's.
    accuracies = [line for line in compared if " accuracy (%) " in line]
    assert len(accuracies) == 4
    assert not any(line.endswith("differs") for line in accuracies)
    # That of the attacked images does, so these rows are compared with something else than themselves.
    assert sum(line.endswith("differs") for line in compared) >= 9


def test_the_readmes_table_is_read_as_it_stands_there() -> None:
    script = module("reproduce_a_table")
    explainer, attack, table = script.shown()
    assert (explainer, attack) == ("saliency", "topk:steps=30")
    assert script.command() == ["--methods", "aga,hessian,pgd-at"]
    assert len(table) == 16
    assert table["aga", "top-10% (%)"] == "48.0 [44.7, 51.1]"
    assert table["constant-map of aga", "Spearman"] == "undefined"


def test_the_readmes_verdict_has_the_numbers_of_the_published_board() -> None:
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"^```\n(aga comes first: .*?)^```", readme, flags=re.S | re.M)
    with (ROOT / "results" / "digits-v1" / "quick" / "leaderboard.csv").open(newline="") as file:
        board = [row for row in csv.DictReader(file) if row["subset"] == "all"]
    titles = ("accuracy (%)", "under apgd (%)", "top-10% (%)", "insertion AUC (mean)")
    for method in ("aga", "hessian", "pgd-at"):
        (line,) = re.findall(rf"^{method}  .*$", block, flags=re.M)
        own = [row for row in board if row["method"] == method]
        wanted = [row["mean"] for title in titles for row in own if row["metric"] == title and row["scope"] != "attack"]
        # Ranks depend on the other rows, of which the board has more. Other machines differ in the last digit.
        shown = [float(number) for number in re.findall(r"(\S+) \(\d+\)", line)]
        assert shown == pytest.approx([float(mean) for mean in wanted], rel=2e-3)
        assert {f"{float(row['training_passes']):g}" for row in own} <= set(line.split())


def test_a_leaderboard_is_read_by_subset_explainer_and_attack(tmp_path: Path) -> None:
    keys = ("subset", "method", "explainer", "attack", "metric", "mean", "ci_low", "ci_high")
    rows = [
        ("all", "aga", "", "", "accuracy (%)", "98.7", "96.6", "99.5"),
        ("all", "aga", "saliency", "topk", "Cosine", "0.9", "0.8", "1.0"),
        ("all", "aga", "saliency", "noise", "Cosine", "0.1", "0.1", "0.1"),
        ("correct", "aga", "saliency", "topk", "Cosine", "0.2", "0.2", "0.2"),
        ("all", "flat", "saliency", "topk", "Cosine", "", "", ""),
    ]
    with (tmp_path / "leaderboard.csv").open("w", newline="") as file:
        csv.writer(file).writerows([keys, *rows])
    assert module("reproduce_a_table").computed(tmp_path / "leaderboard.csv", "saliency", "topk") == {
        ("aga", "accuracy (%)"): "98.7 [96.6, 99.5]",
        ("aga", "Cosine"): "0.9 [0.8, 1.0]",
        ("flat", "Cosine"): "undefined",
    }


def test_the_picture_of_the_readme_can_be_made_again_and_shows_what_the_readme_says(tmp_path: Path) -> None:
    out = printed("make_picture.py", "--out", tmp_path / "attack.png")
    readme = " ".join((ROOT / "README.md").read_text().split())
    said = {
        "digits/natural": re.findall(r"ordinary way keeps (\d+) %", readme),
        "digits/aga": re.findall(r"trained by AGA \(Joo et al\. 2023\) (\d+) %", readme),
    }
    for network, (number,) in said.items():
        ((kept, before, after),) = re.findall(rf"{network}: ([\d.]+)% .* predicted (\d) and (\d)", out)
        assert before == after == "2"
        # Other machines round differently, and an attack of 100 steps follows; the top tenth has 78 pixels.
        assert float(kept) == pytest.approx(float(number), abs=3)
    assert 10_000 < (tmp_path / "attack.png").stat().st_size < 150_000
