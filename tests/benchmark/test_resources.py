"""Processes and threads follow from the network and the work; environment and user have the last word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrobust import load, machine
from attrobust.benchmark.command.main import main
from attrobust.benchmark.run import resources
from attrobust.benchmark.run.resources import PROCESS_BYTES, WORTH, Resources, choose, is_small
from attrobust.process import restored

from helpers.runs import FAST

CPU = torch.device("cpu")


class Large(nn.Module):
    """A network with an activation of 256 values for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of 8 cores with memory, in a process that torch has 8 threads in."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "cores", lambda: 8)
    monkeypatch.setattr(resources, "memory", lambda: 100 * PROCESS_BYTES)
    with restored():
        torch.set_num_threads(8)
        yield


@pytest.fixture
def batch(real_images: tuple[Tensor, Tensor]) -> Tensor:
    """64 real images."""
    return real_images[0][:1].expand(64, -1, -1, -1)


def chosen(network: nn.Module, batch: Tensor, workers: int | None = None, **changes: int) -> tuple[int, int]:
    """How many processes of how many threads."""
    found = choose(CPU, workers, [network], batch, **{"jobs": 100, "work": 10 * WORTH, **changes})
    return len(found.devices), found.threads


def test_small_networks_have_one_thread_and_large_ones_all(batch: Tensor) -> None:
    small, large = load("digits/natural"), Large()
    assert is_small([small], batch)
    assert not is_small([small, large], batch)
    assert chosen(small, batch) == (8, 1)
    assert chosen(large, batch) == (1, 8)
    assert chosen(large, batch[:1]) == (8, 1), "of one image it is small"


def test_the_number_of_processes_that_is_asked_for_decides_no_threads_of_a_small_network(batch: Tensor) -> None:
    network = load("digits/natural")
    assert [chosen(network, batch, workers=count) for count in (1, 2, 16)] == [(1, 1), (2, 1), (16, 1)]
    assert [chosen(Large(), batch, workers=count) for count in (1, 2, 16)] == [(1, 8), (2, 4), (16, 1)]


@pytest.mark.parametrize(("changes", "wanted"), [({"work": WORTH - 1}, 1), ({"jobs": 3}, 3), ({"jobs": 0}, 1), ({}, 8)])
def test_no_more_processes_than_pay(changes: dict[str, int], wanted: int, batch: Tensor) -> None:
    assert chosen(load("digits/natural"), batch, **changes) == (wanted, 1)


@pytest.mark.parametrize(("free", "wanted"), [(0, 1), (2.5 * PROCESS_BYTES, 2)])
def test_processes_fit_into_memory(free: float, wanted: int, batch: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory", lambda: int(free))
    assert chosen(load("digits/natural"), batch) == (wanted, 1)


def test_the_environment_has_the_last_word_on_threads(batch: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    torch.set_num_threads(4)
    for network in (load("digits/natural"), Large()):
        assert chosen(network, batch) == (2, 4)
        assert chosen(network, batch, workers=3) == (3, 4)


@pytest.mark.parametrize(
    ("asked", "count", "workers", "wanted"),
    [
        ("cuda", 4, None, ("cuda:0", "cuda:1", "cuda:2", "cuda:3")),
        ("cuda", 1, None, ("cuda:0",)),
        ("cuda", 2, 3, ("cuda:0", "cuda:1", "cuda:0")),
        ("cuda:1", 4, None, ("cuda:1",)),
        ("cuda:1", 4, 2, ("cuda:1", "cuda:1")),
    ],
)
def test_every_process_has_a_gpu(
    asked: str, count: int, workers: int | None, wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    found = choose(torch.device(asked), workers, [], torch.zeros(1, 1, 2, 2), jobs=100, work=10 * WORTH)
    assert found.devices == wanted


def test_the_system_says_how_many_cores_and_how_much_memory_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert machine.cores() >= 1
    assert 0 < machine.memory() < 2**50
    quota: dict[str, Any] = {"cpu.max": "150000 100000", "memory.max": "3000", "memory.current": "1000"}
    monkeypatch.setattr(machine, "_lines", lambda path: [quota[path.name]] if path.name in quota else [])
    assert machine.cores() == 1
    assert machine.memory() == 2000


def test_words() -> None:
    assert Resources(devices=("cpu",), threads=1).words == "1 thread"
    assert Resources(devices=("cpu", "cpu"), threads=4).words == "2 processes of 4 threads"


def test_rows_say_how_many_threads_computed_them_and_the_caller_keeps_his(tmp_path: Path) -> None:
    words = ["--methods", "natural", "--no-audit", *FAST, "--images", "2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["provenance"]["threads"] for row in rows} == {1}
    assert torch.get_num_threads() == 8
