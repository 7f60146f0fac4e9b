"""Runs of the command, in this process or in one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

ROOT = Path(__file__).parents[2]
FAST = ["--images", "6", "--explainers", "saliency", "--metrics", "topk:k=10%,spearman,cosine,normalized-l2"]
FAST += ["--controls", "none", "--attacks", "noise:draws=2,topk:steps=2"]
"""Options that make a run on the digits short, and only of attacks, which are the last word."""


def run(words: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def start(words: Sequence[str | Path]) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, words)]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
