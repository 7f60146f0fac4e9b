"""Whoever carries jobs out, and in whatever order: the same table to the byte."""

from __future__ import annotations

import pickle
import random
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from torch import nn

from attrobust.benchmark.executors.base import Executor, Job, Prepare, Result, Work
from attrobust.benchmark.executors.jobs import NetworkJob, Source
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.executors.serial import Serial
from attrobust.benchmark.executors.worker import Worker
from attrobust.benchmark.store.store import Store

from helpers.runs import COARSE, FAST, WHOLE, run

Capture = pytest.CaptureFixture[str]
TRAINED = [*COARSE, "--retrain", "--epochs", "1", *WHOLE[:-1]]
TRAINED += ["topk:steps=2,transfer:steps=1", "--accuracy-attack", "none", "--metrics", "cosine"]
WORDS = ["--methods", "natural,softplus:beta={3,30}", "--choose", "cosine@topk:steps=2", *TRAINED]
WORDS += ["--metrics", "cosine,gini", "--baselines", "constant-map,untrained"]


class Shuffled(Executor):
    """Jobs in an order drawn by chance among those whose needs are done, by two workers in turn, all data pickled."""

    seed = 0

    def __init__(self, work: Work) -> None:
        assert isinstance(work, Worker)
        self._workers = [work, Worker(work._request, work._data)]

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        rng, waiting, done = random.Random(self.seed), list(jobs), set[str]()
        while waiting:
            job = rng.choice([job for job in waiting if done.issuperset(job.needs)])
            prepared = prepare(job)
            if isinstance(prepared, Result):
                yield job, prepared
            else:
                result = self._workers[rng.randrange(2)](pickle.loads(pickle.dumps(prepared)))
                yield prepared, pickle.loads(pickle.dumps(result))
            waiting.remove(job)
            done.add(job.key)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")}


def test_any_admissible_order_gives_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code, wanted, err = run([*WORDS, "--out", tmp_path / "serial"], capsys)
    assert code == 0, err
    monkeypatch.setattr("attrobust.benchmark.run.computing.Serial", Shuffled)
    code, out, err = run([*WORDS, "--out", tmp_path / "shuffled"], capsys)
    assert code == 0, err
    assert out == wanted
    assert files(tmp_path / "shuffled") == files(tmp_path / "serial")
    plans = [Store(tmp_path / name).plan() for name in ("serial", "shuffled")]
    assert msgspec.structs.replace(plans[1], argv=plans[0].argv).signed() == plans[0]
    assert list(Store(tmp_path / "shuffled").rows()) != list(Store(tmp_path / "serial").rows()), "another order"
    before = Store(tmp_path / "shuffled").rows()
    monkeypatch.setattr("attrobust.benchmark.run.computing.Serial", Serial)
    assert run([*WORDS, "--out", tmp_path / "shuffled"], capsys)[0] == 0
    assert Store(tmp_path / "shuffled").rows() == before, "nothing is done again"


class Untouched(Executor):
    """Fails where anything but a network is to be carried out."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        for job in jobs:
            prepared = prepare(job)
            assert isinstance(prepared, (Result, NetworkJob)), prepared.label
            yield job, prepared if isinstance(prepared, Result) else self._work(prepared)


def test_what_is_on_disk_is_not_handed_to_an_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["--methods", "natural,aga", *TRAINED, "--no-audit", "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    monkeypatch.setattr("attrobust.benchmark.run.computing.Serial", Untouched)
    assert run(words, capsys)[0] == 0
    with pytest.raises(AssertionError, match="natural / saliency / topk:steps=3"):
        run([*words, "--attacks", "topk:steps=3"], capsys)


def test_no_more_than_one_network_is_in_memory_beside_the_lent_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    opened: list[tuple[str, weakref.ref[nn.Module]]] = []
    alive: list[list[str]] = []
    real = Networks.open

    def watched(self: Networks, source: Source) -> tuple[nn.Module, str]:
        alive.append([name for name, network in opened if network() is not None])
        found: tuple[nn.Module, str] = real(self, source)
        opened.append((source.method.name if hasattr(source, "method") else "untrained", weakref.ref(found[0])))
        return found

    monkeypatch.setattr(Networks, "open", watched)
    words = ["--methods", "aga,igr", *FAST[:-1], "transfer:steps=1", "--images", "2"]
    words += ["--metrics", "cosine", "--baselines", "untrained", "--out", tmp_path]
    code, _, err = run(words, capsys)
    assert code == 0, err
    assert [name for name, _ in opened] == ["aga", "natural", "igr", "untrained"]
    assert alive == [[], ["aga"], ["natural"], ["natural"]]


def test_a_worker_refuses_weights_that_are_others_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = Worker._open
    asked: list[Any] = []

    def other(self: Worker, job: NetworkJob) -> Any:
        asked.append(job)
        opened = real(self, job)
        return opened if len(asked) == 1 else replace(opened, sha256="0" * 64)

    monkeypatch.setattr(Worker, "_open", other)
    code, _, err = run(["--methods", "natural", *TRAINED, "--out", tmp_path], capsys)
    assert code == 2
    assert "natural: its weights changed during the run" in err
