"""Jobs on a Ray cluster: the same table to the byte, whatever is lost on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.executors.pool import ATTEMPTS
from attrobust.benchmark.models.lenet import LeNet

from helpers.ray_nodes import RayNodes
from helpers.runs import FAST, ROOT, SMALL

pytest.importorskip("ray")
Capture = pytest.CaptureFixture[str]

PLUGIN = """
import os
import time
from pathlib import Path

from attrobust import Attack, attacks

time.sleep(float(os.environ.get("SLOW", 0)))


@attacks.registry.register("fatal")
class Fatal(Attack):
    def run(self, context, x, y):
        if "FATAL" in os.environ:
            print("said on a node")
            if (mark := Path(os.environ["FATAL"])).exists():
                mark.unlink()
                os._exit(7)
        return 0.5 * x + 0.5 * (x + context.threat.eps).clamp(0, 1)
"""


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; the next worker that finds it removes it and dies."""
    return tmp_path_factory.mktemp("fatal") / "mark"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for runs of the first node, which does not use that of the command."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def nodes(mark: Path, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """A cluster of two nodes beside its head."""
    own = ({"ATTROBUST_SCRATCH": str(scratch)}, {"TMPDIR": str(tmp_path_factory.mktemp("shares"))})
    found = RayNodes(*({"FATAL": str(mark), **more} for more in own))
    yield found
    found.close()


WORDS = ["--methods", "natural", "--checkpoint", "mine=mine.pt", *SMALL, "--epochs", "1", "--retrain", *FAST]
WORDS += ["--dataset", "digits:size=16", "--images", "4", "--batch-size", "2", "--plugin", "fatal.py"]
WORDS += ["--attacks", "noise:draws=2,fatal,topk:steps=20"]
WORDS += ["--metrics", "cosine,topk:k=10%,roar:levels=50,repeats=1"]
"""A run with networks and retrainings, a plug-in, and a user's weights, which only the driver finds by these names."""


@pytest.fixture(scope="module")
def mine(coarse: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command is run in."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "fatal.py").write_text(PLUGIN)
    torch.save(LeNet(width=4, hidden=8).build(image_facts(coarse)).state_dict(), folder / "mine.pt")
    (folder / "mine.toml").write_text("accuracy = 0.1\n")
    return folder


@pytest.fixture(scope="module")
def serial(mine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("serial")
    done = command(mine, [*WORDS, "--workers", "1", "--out", folder])
    _, err = done.communicate(timeout=200)
    assert done.returncode == 0, err
    return folder


def command(cwd: Path, words: list[str | Path]) -> subprocess.Popen[str]:
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, words)]
    return subprocess.Popen(line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, pattern: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a running command has written so many files."""
    end = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_driver_a_process_and_a_node_are_lost_and_the_table_is_the_same(
    nodes: RayNodes, mine: Path, serial: Path, mark: Path, tmp_path: Path
) -> None:
    line = [*WORDS, "--executor", nodes.address, "--out", tmp_path]
    process = command(mine, line)
    wait_for(tmp_path, "checkpoints/*.toml", 1, process)
    process.kill()
    process.communicate()
    mark.touch()
    process = command(mine, line)
    wait_for(tmp_path, "attacked/*/*", 2, process)
    nodes.lose()
    assert process.poll() is None
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert (tmp_path / "leaderboard.csv").read_bytes() == (serial / "leaderboard.csv").read_bytes()
    assert not mark.exists()
    assert "fatal: its worker was lost by the " in err
    assert "said on a node" not in out + err
    assert "(raylet)" not in out + err
    # What the nodes have made for themselves is in the run's folder, made once.
    assert "training for" not in err
    for pattern in ("checkpoints/*.pt", "checkpoints/*.toml", "retrainings/*.hits"):
        made = {path.name: path.read_bytes() for path in tmp_path.glob(pattern)}
        assert made == {path.name: path.read_bytes() for path in serial.glob(pattern)}
        assert made
    assert not (tmp_path / ".token").exists()


@pytest.mark.parametrize(("signum", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_all_actors_in_a_second_with_one_line(
    nodes: RayNodes, mine: Path, scratch: Path, tmp_path: Path, signum: signal.Signals, word: str
) -> None:
    words = ["--methods", "natural", *FAST, "--attacks", "topk:steps=5000", "--executor", nodes.address]
    process = command(mine, [*words, "--out", tmp_path])
    while not nodes.actors():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(5)
    assert len(nodes.actors()) == 1
    # Processes that were killed before have left theirs.
    assert len(list(scratch.iterdir())) <= 1
    process.send_signal(signum)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 3
    assert process.returncode == 128 + signum
    assert err.strip().splitlines()[-1] == f"{word}; the same command goes on where it stopped"
    assert "Traceback" not in err
    # What the command has threads for is not said: it computes nothing.
    assert "computing with" not in err
    assert out == ""
    while nodes.actors():
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_nodes_that_are_lost_while_processes_start_do_not_end_the_run(
    nodes: RayNodes, mine: Path, tmp_path: Path
) -> None:
    while len(nodes):
        nodes.lose()
    nodes.add({"SLOW": "60"})
    words = ["--methods", "natural", *FAST, "--attacks", "noise:draws=2", "--plugin", "fatal.py"]
    process = command(mine, [*words, "--executor", nodes.address, "--out", tmp_path])
    for variables in ({"SLOW": "60"}, {"SLOW": "60"}, {}):
        while not nodes.actors():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(1)
        nodes.lose()
        nodes.add(variables)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("a worker did not start, by ") >= ATTEMPTS


def test_a_node_without_attrobust_ends_the_run_in_one_line(nodes: RayNodes, mine: Path, tmp_path: Path) -> None:
    nodes.lose()
    nodes.add({}, path="")
    process = command(mine, ["--methods", "natural", *FAST, "--executor", nodes.address, "--out", tmp_path])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error: a node cannot import attrobust (ModuleNotFoundError: No module named 'attrobust'); install" in err
