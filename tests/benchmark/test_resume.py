"""SIGKILL at any moment, the same command again, the same table to the byte."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import pytest

from helpers.forked import Forked
from helpers.runs import WHOLE, start

LIGHT = ["--dataset", "digits:size=16", "--model", "lenet:width=4,hidden=8", "--accuracy-attack", "apgd:steps=2"]
TRAINING = ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "topk", "--retrain", "--epochs", "2", *WHOLE, *LIGHT]
EVALUATION = ["--methods", "natural,hessian,pgd-at", "--images", "4", "--attacks", "noise:draws=2,topk:steps=6"]
EVALUATION += ["--accuracy-attack", "apgd:steps=2", "--explainers", "saliency", "--baselines", "none"]


def finish(words: list[str], folder: Path) -> bytes:
    """The table of a run that nobody kills."""
    code, _, err = Forked([*words, "--out", folder]).answer()
    assert code == 0, err
    return (folder / "leaderboard.csv").read_bytes()


def state(folder: Path) -> dict[str, int]:
    """Every file of a run and when it was last written."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def kill_after_writes(words: list[str], folder: Path, writes: int, delay: float) -> bool:
    """Start a run, see files change so many times, wait a little, kill; whether it was still running."""
    process = Forked([*words, "--out", folder])
    seen = state(folder)
    while writes and process.running:
        time.sleep(0.001)
        now = state(folder)
        if now != seen:
            seen, writes = now, writes - 1
    time.sleep(delay)
    running = process.running
    process.kill()
    return running


@pytest.mark.parametrize("words", [TRAINING, EVALUATION], ids=["training", "evaluation"])
def test_a_killed_run_ends_in_the_same_table(words: list[str], tmp_path: Path) -> None:
    wanted = finish(words, tmp_path / "whole")
    rng = random.Random(0)
    killed = [kill_after_writes(words, tmp_path / "killed", writes, rng.uniform(0, 0.05)) for writes in (2, 3, 4, 6, 9)]
    assert sum(killed) >= 3
    assert finish(words, tmp_path / "killed") == wanted
    litter = [path for path in (tmp_path / "killed").rglob(".*") if path.name != ".lock"]
    assert litter == []


def test_a_run_that_is_interrupted_says_so_and_exits_130(tmp_path: Path) -> None:
    # A suite in the background of a shell ignores the signal, and what it starts would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start([*EVALUATION, "--attacks", "topk:steps=500", "--out", tmp_path / "run"])
    signal.signal(signal.SIGINT, before)
    while not (tmp_path / "run" / "log.txt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on where it stopped" in err
    assert "Traceback" not in err
