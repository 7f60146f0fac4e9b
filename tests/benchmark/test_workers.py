"""Processes that compute: the same table to the byte, whoever dies on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.command.main import main
from attrobust.benchmark.evaluation import retraining
from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.schedule import Schedule
from attrobust.benchmark.executors.worker import Worker
from attrobust.benchmark.executors.workers import Workers

from helpers.processes import alive, workers_of
from helpers.runs import FAST, ROOT, SMALL, run

Capture = pytest.CaptureFixture[str]
WORDS = ["--methods", "natural,aga", "--explainers", "saliency", "--baselines", "none", "--no-audit"]
WORDS += ["--images", "12", "--batch-size", "4", "--metrics", "cosine,topk:k=10%", "--accuracy-attack", "apgd:steps=2"]
WORDS += ["--attacks", "noise:draws=2,topk:steps=3"]
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a run in one process."""
    folder = tmp_path_factory.mktemp("serial")
    assert main([*WORDS, "--workers", "1", "--out", str(folder)]) == 0
    return tables(folder)


def command(words: list[str | Path]) -> list[str]:
    return [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, words)]


def test_workers_that_are_killed_are_replaced_and_the_table_is_the_same(
    tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    line = command([*WORDS, "--workers", "2", "--out", tmp_path])
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rng, killed, finished = random.Random(0), list[int](), threading.Event()

    def kill() -> None:
        while not finished.is_set() and len(killed) < 2:
            time.sleep(rng.uniform(0.5, 1.5))
            found = list(workers_of(process.pid))
            if found and (tmp_path / "pieces").is_dir():
                killed.append(rng.choice(found))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    _, err = process.communicate(timeout=300)
    finished.set()
    thread.join()
    assert process.returncode == 0, err
    assert killed
    assert tables(tmp_path) == wanted
    assert "leaked" not in err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_in_a_second_with_one_line(
    signum: signal.Signals, tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    line = command([*WORDS, "--attacks", "topk:steps=2000", "--workers", "2", "--out", tmp_path])
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while len(pids := list(workers_of(process.pid))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(4)
    process.send_signal(signum)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 3
    assert process.returncode == 128 + signum
    assert err.strip().splitlines()[-1].endswith("the same command goes on where it stopped")
    assert "Traceback" not in err
    assert "leaked" not in err
    assert not any(map(alive, pids))


def test_workers_end_when_the_driver_is_killed(tmp_path: Path, wanted: dict[str, bytes], capsys: Capture) -> None:
    line = command([*WORDS, "--workers", "2", "--out", tmp_path])
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    while not any((tmp_path / "pieces").glob("*/*")):
        assert process.poll() is None
        time.sleep(0.02)
    pids = list(workers_of(process.pid))
    process.kill()
    process.wait()
    began = time.monotonic()
    while any(map(alive, pids)):
        assert time.monotonic() - began < 5
        time.sleep(0.05)
    code, _, err = run([*WORDS, "--workers", "1", "--out", tmp_path], capsys)
    assert code == 0, err
    assert tables(tmp_path) == wanted, "whoever goes on"


PLUGIN = """
import multiprocessing
import os

from attrobust import Attack, attacks


@attacks.registry.register("deadly")
class Deadly(Attack):
    def run(self, context, x, y):
        if multiprocessing.parent_process():
            os._exit(7)
        return x
"""


def test_a_job_whose_process_always_dies_is_a_failed_row_with_its_reason(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "deadly.py"
    plugin.write_text(PLUGIN)
    words = ["--methods", "natural", *WORDS[2:], "--accuracy-attack", "none", "--images", "4"]
    words += ["--attacks", "noise:draws=2,deadly", "--plugin", plugin, "--out", tmp_path / "run"]
    code, out, err = run([*words, "--workers", "2"], capsys)
    assert code == 1
    assert "natural / saliency / deadly: its worker process was ended 3 times, by exit code 7" in err
    assert "fewer --workers or a smaller --batch-size" in err
    assert "noise:draws=2" in out


LOUD = """
import multiprocessing
import os

from attrobust import Attack, attacks


@attacks.registry.register("loud")
class Loud(Attack):
    def run(self, context, x, y):
        if multiprocessing.parent_process():
            print("among the tables", flush=True)
            os.write(1, b"among the tables")
            raise KeyboardInterrupt
        return x
"""


def test_plug_ins_in_workers_print_nothing_among_the_tables_and_interrupt_only_their_cell(
    tmp_path: Path, capfd: Capture
) -> None:
    plugin = tmp_path / "loud.py"
    plugin.write_text(LOUD)
    words: list[str | Path] = ["--methods", "natural", *WORDS[2:], "--accuracy-attack", "none", "--images", "4"]
    words += ["--attacks", "noise:draws=2,loud", "--plugin", plugin, "--workers", "2", "--json"]
    code, out, err = run([*words, "--out", tmp_path / "run"], capfd)
    assert code == 1, err
    assert "natural / saliency / loud: KeyboardInterrupt" in err
    assert "Traceback" not in err
    json.loads(out)


def test_what_is_wrong_in_a_worker_ends_the_run_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import multiprocessing\nif multiprocessing.parent_process():\n    raise ValueError('only once')\n"
    )
    words = ["--methods", "natural", *WORDS[2:], "--plugin", plugin, "--out", tmp_path / "run", "--workers", "2"]
    code, _, err = run(words, capsys)
    assert code == 2
    assert err.splitlines()[-1] == f"error: --plugin {plugin} line 3: ValueError: only once"


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_a_number_of_workers_is_a_number(count: str, tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run([*WORDS, f"--workers={count}", "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert "must be a number of processes from 1 to 10,000, or auto" in err
    assert not (tmp_path / "run").exists()


def test_networks_come_first_then_the_longest_then_the_order_of_the_plan() -> None:
    jobs = [
        Job(key="a", label="", cost=9),
        Job(key="b", label="", needs=("a",), cost=1),
        Job(key="c", label="", needs=("a",), cost=3),
        Job(key="d", label="", needs=("a", "b"), cost=8),
        Job(key="e", label="", cost=3),
        Job(key="f", label="", needs=("elsewhere",), cost=3),
    ]
    schedule, order = Schedule(jobs), []
    while len(schedule):
        job = schedule.take()
        assert job is not None
        order.append(job.key)
        schedule.done(job)
    assert order == ["a", "c", "e", "f", "b", "d"]


def test_no_process_is_made_where_there_is_nothing_to_compute() -> None:
    assert list(Workers([]).run([], lambda job: job)) == []


def test_every_network_that_a_retraining_metric_needs_is_a_job_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    trained: list[int] = []
    jobs: list[str] = []
    real, carried_out = retraining.train, Worker._carried_out

    def counting(*args: Any, seed: int, **settings: Any) -> Any:
        trained.append(seed)
        return real(*args, seed=seed, **settings)

    def noted(self: Worker, job: Job) -> Result:
        before = len(trained)
        result = carried_out(self, job)
        if job.label.startswith("natural / saliency / roar"):
            jobs.append(f"{type(job).__name__} {len(trained) - before}")
        return result

    monkeypatch.setattr(retraining, "train", counting)
    monkeypatch.setattr(Worker, "_carried_out", noted)
    words = ["--methods", "natural", *SMALL, "--retrain", "--epochs", "1", *FAST, "--images", "2"]
    words += ["--metrics", "cosine,roar:levels=50,repeats=2", "--dataset", "digits:size=16"]
    assert run([*words, "--out", tmp_path], capsys)[0] == 0
    assert len(trained) > 1
    assert jobs == [*["RetrainingJob 1"] * len(trained), "CellJob 0"]
