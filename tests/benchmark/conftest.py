"""Runs that several files read, on the digits; tests must leave them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

from helpers.runs import ATTACKED, COARSE

METRICS = "topk:k=10%,spearman,normalized-l2,insertion,deletion"
SWEPT = ["--images", "6", "--explainers", "saliency,input-x-gradient", "--metrics", METRICS, "--no-audit"]

RANDOM = [
    *(*COARSE, "--methods", "natural,aga", "--epochs", "4", "--images", "6", "--metrics", "topk:k=10%,spearman,cosine"),
    *("--explainers", "smoothgrad:samples=4", "--accuracy-attack", "none", "--workers", "1", "--batch-size", "4"),
    *("--baselines", "constant-map,untrained", "--no-audit"),
    *("--attacks", "noise:draws=2,topk:steps=3,frame:variant=paper,steps=3"),
]
"""A run of an explainer that draws random numbers, with an attack whose result depends on the batch."""


@pytest.fixture(scope="session")
def sweep_of_radii(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep over two radii, with the weights that come with attrobust."""
    folder = tmp_path_factory.mktemp("runs") / "radii"
    words = ["--methods", "natural,aga,pgd-at,trades", "--accuracy-attack", "none", "--eps", "4/255,16/255"]
    assert main([*words, *SWEPT, *ATTACKED, "--workers", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its attacked images and the weights that it trained."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    assert main([*RANDOM, "--out", str(folder)]) == 0
    return folder
