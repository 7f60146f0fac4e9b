"""A run that several files read: a sweep over two radii, on the digits with the weights that come with attrobust."""

from __future__ import annotations

from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

from helpers.runs import ATTACKED

METRICS = "topk:k=10%,spearman,normalized-l2,insertion,deletion"
SWEPT = ["--images", "6", "--explainers", "saliency,input-x-gradient", "--metrics", METRICS, "--no-audit"]


@pytest.fixture(scope="session")
def sweep_of_radii(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sweep."""
    folder = tmp_path_factory.mktemp("runs") / "radii"
    words = ["--methods", "natural,aga,pgd-at,trades", "--accuracy-attack", "none", "--eps", "4/255,16/255"]
    assert main([*words, *SWEPT, *ATTACKED, "--workers", "1", "--out", str(folder)]) == 0
    return folder
