"""Runs of the command, in this process or in one of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.command.main import main

ROOT = Path(__file__).parents[2]
SCORED = ["--images", "6", "--explainers", "saliency", "--metrics", "topk:k=10%,spearman,cosine,normalized-l2"]
ATTACKED = ["--baselines", "none", "--attacks", "noise:draws=2,topk:steps=2"]
WHOLE = [*SCORED, *ATTACKED]
"""Options that make a run on the digits short without leaving out a part; attacks are the last word."""
SMALL = ["--model", "lenet:width=4,hidden=8"]
"""A network that is trained in a blink."""
COARSE = [*SMALL, "--dataset", "digits:size=16"]
"""The same on a third of the pixels."""
FAST = [*SCORED, "--accuracy-attack", "none", "--no-audit", *ATTACKED]
"""The same without audit and attack on the accuracy, which take three quarters of the time."""


def run(words: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def written_plan(folder: Path) -> dict[str, Any]:
    """``run.json`` as it lies on disk."""
    plan: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return plan


def write_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Put other words in its place."""
    (folder / "run.json").write_text(json.dumps(plan))


def written_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """``rows.jsonl`` as it lies on disk, by fingerprint."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {row["fingerprint"]: row for row in rows}


def start(words: Sequence[str | Path]) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, words)]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
