"""The number of threads follows from the network and the batch; environment and caller have the last word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attrobust import load
from attrobust.benchmark.command.main import main
from attrobust.benchmark.run.threads import WORTH, threads_for
from attrobust.process import restored

from helpers.runs import FAST


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that torch has 64 threads in."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with restored():
        torch.set_num_threads(64)
        yield


def test_a_thread_has_a_share_of_the_largest_activation(real_images: tuple[Tensor, Tensor]) -> None:
    network, image = load("digits/natural"), real_images[0][:1]
    shapes = [16 * 28 * 28, 32 * 14 * 14]
    counts = [threads_for([network], image.expand(count, -1, -1, -1)) for count in (1, 16, 64)]
    assert counts == [max(1, count * max(shapes) // WORTH) for count in (1, 16, 64)] == [1, 3, 12]


def test_the_environment_and_the_caller_have_the_last_word(
    real_images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = load("digits/natural"), real_images[0][:1].expand(64, -1, -1, -1)
    torch.set_num_threads(2)
    assert threads_for([network], images) == 2
    torch.set_num_threads(64)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert threads_for([network], images) == 64


def test_rows_say_how_many_threads_computed_them_and_the_caller_keeps_his(tmp_path: Path) -> None:
    words = ["--methods", "natural", "--no-audit", *FAST, "--images", "2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["provenance"]["threads"] for row in rows} == {1}
    assert torch.get_num_threads() == 64
