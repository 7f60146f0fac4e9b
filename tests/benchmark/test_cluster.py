"""What can be said of a cluster without one: what is refused, what nodes are sent, and what they hand back."""

from __future__ import annotations

import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from attrobust.benchmark.executors import files
from attrobust.benchmark.executors.base import Job
from attrobust.benchmark.executors.cluster import Cluster, Share
from attrobust.benchmark.executors.connection import Connection, signals_wait
from attrobust.benchmark.executors.files import RunFiles
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.executors.node import Facts, Node, Parcel, _await
from attrobust.benchmark.executors.process import Refused
from attrobust.benchmark.request.cluster import ClusterSettings
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.benchmark.run.computing import _threads, setup_of
from attrobust.process import restored
from attrobust.types import UsageError

from helpers.requests import request_of
from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]


def line_of_refusal(more: Sequence[str], folder: Path, capsys: Capture) -> str:
    """What a run that trains is refused with, in one line and before anything is written."""
    words = ["--methods", "natural", "--retrain", *FAST, "--out", folder / "run"]
    code, out, err = run([*words, *more], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (folder / "run").exists()
    return err


@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")
def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    line = line_of_refusal(["--executor", "ray:127.0.0.1:1"], tmp_path, capsys)
    assert "nobody answers at 127.0.0.1:1 (Connection refused); start one with" in line
    assert "no cluster was joined" in line_of_refusal(["--executor", "ray:nowhere"], tmp_path, capsys)


@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")
def test_a_dry_run_asks_no_cluster_and_says_that_its_time_is_of_this_machine(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", *FAST, "--executor", "ray:127.0.0.1:1", "--dry-run", "--out", tmp_path / "run"]
    code, out, _ = run(words, capsys)
    assert code == 0
    assert "of this machine, divided by the jobs that nodes carry out at once\n" in out


def test_what_no_cluster_can_do_is_said_in_one_line_before_anything_is_trained(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*more: str) -> str:
        return line_of_refusal(more, tmp_path, capsys)

    assert "must be local, ray or ray:ADDRESS" in refused("--executor", "dask")
    assert "must be local, ray or ray:ADDRESS" in refused("--executor", "ray:")
    assert "--gpus-per-job is for --executor ray" in refused("--gpus-per-job", "0.5")
    for text in ("-1", "half", "1.5", "nan"):
        assert f"{text} must be a share such as 0.25" in refused("--executor", "ray", f"--gpus-per-job={text}")
    assert "--device cpu uses none" in refused("--executor", "ray", "--gpus-per-job", "1", "--device", "cpu")
    assert "use auto, cpu or cuda" in refused("--executor", "ray", "--device", "cuda:1")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'attrobust[cluster]'" in refused("--executor", "ray")


def test_signals_wait_until_a_call_of_ray_has_ended_and_do_then_what_they_did() -> None:
    before = signal.getsignal(signal.SIGINT)
    ended = []
    with pytest.raises(KeyboardInterrupt), signals_wait():
        signal.raise_signal(signal.SIGINT)
        ended.append(True)
    assert ended
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError, match="its own"), signals_wait():
        raise ValueError("its own")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_node_with_other_sources_or_versions_says_so() -> None:
    here = Facts.here()
    found = []
    for facts in (replace(here, sources="0"), replace(here, versions={**here.versions, "torch": "0.1"})):
        found += Node().start(facts, {}, b"").messages
    reasons = [message.reason for message in found if isinstance(message, Refused)]
    assert "the sources of attrobust there are others; install the same versions on all nodes" in reasons[0]
    assert f"torch is 0.1 here and {here.versions['torch']} there" in reasons[1]


def test_a_node_with_other_images_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTROBUST_SCRATCH", str(tmp_path))
    request = request_of(load_protocol("quick").override(methods=("natural",)), tmp_path, audit=False)
    setup = replace(setup_of(request, "cpu", 1), splits={"test": "0" * 64})
    node, parcel = Node(), Parcel(setup=setup, folder=tmp_path, token="", files=())
    with restored(), warnings.catch_warnings():
        (message,) = node.start(Facts.here(), {}, pickle.dumps(parcel)).messages
    assert isinstance(message, Refused)
    assert (
        f"node {socket.gethostname()}: the test images of digits are others here than the run's; copy" in message.reason
    )
    node.end()
    assert list(tmp_path.iterdir()) == []


class Ray:
    """As much of Ray as starts processes, every one of which is lost; there are eight CPUs."""

    class RayError(Exception):
        """Something is lost."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=TypeError, ActorUnavailableError=RayError)
    open = True

    def __init__(self, lost: Sequence[int]) -> None:
        self.ray, self._lost, self.asked = self, list(lost), 0

    def nodes(self) -> list[dict[str, float]]:
        return [{"CPU": 8.0}]

    def lost_nodes(self) -> int:
        """How many nodes were lost when this is asked for the first time, the second, ..."""
        return self._lost.pop(0) if len(self._lost) > 1 else self._lost[0]

    def remote(self, *_: object) -> Any:
        self.asked += 1
        return SimpleNamespace(options=lambda **_: self, start=SimpleNamespace(remote=lambda *_: object()))

    def put(self, _: object) -> None:
        """Nothing is kept."""

    def wait(self, answers: list[object], **_: object) -> tuple[list[object], list[object]]:
        return answers, []

    def get(self, _: object) -> None:
        raise self.RayError

    def kill(self, _: object) -> None:
        """There is no process."""

    def close(self) -> None:
        """There is no connection."""


@pytest.mark.parametrize(("lost", "asked"), [([0], 3 * 8), ([0, *[0] * 8, *[1] * 8, 1], 5 * 8)])
def test_processes_that_are_lost_together_are_one_failure_and_none_where_a_node_is_lost(
    tmp_path: Path, lost: Sequence[int], asked: int
) -> None:
    ray = Ray(lost)
    cluster = Cluster(
        cast(Connection, ray),
        share=Share(cpus=1, gpus=0),
        most=None,
        parcel=b"",
        files=RunFiles(tmp_path, cast(Networks, None)),
        token="",
        environment={},
    )
    jobs = [Job(key=str(index), label="a job") for index in range(8)]
    with pytest.raises(UsageError, match="no worker starts on the cluster"):
        list(cluster.run(jobs, lambda job: job))
    assert ray.asked == 1 + asked


def test_jobs_share_a_node() -> None:
    assert Share(cpus=2, gpus=0).fits(cpus=5, gpus=0) == 2
    assert Share(cpus=1, gpus=0.25).fits(cpus=16, gpus=2) == 8
    assert Share(cpus=4, gpus=0.25).fits(cpus=16, gpus=2) == 4
    assert Share(cpus=1, gpus=1).fits(cpus=16, gpus=0) == 0
    assert _threads({"CPU": 16, "GPU": 2}, 0.25) == 2
    assert ClusterSettings().gpus(0) == 0
    assert ClusterSettings().gpus(4) == 1
    assert ClusterSettings(device="cpu").gpus(4) == 0
    assert ClusterSettings(gpus_per_job=0.5).gpus(4) == 0.5
    for settings in (ClusterSettings(device="cuda"), ClusterSettings(gpus_per_job=0.5)):
        with pytest.raises(UsageError, match="no node of the cluster has a GPU"):
            settings.gpus(0)


def test_a_card_is_written_after_its_weights_and_nothing_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(files, "write_atomically", lambda path, _: written.append(path.name))
    taken = RunFiles(tmp_path, cast(Networks, None))
    taken.take_in({"checkpoints/a.toml": b"", "checkpoints/a.pt": b"", "retrainings/b.hits": b""})
    assert written == ["a.pt", "a.toml", "b.hits"]
    for name in ("rows.jsonl", "checkpoints/../rows.pt", "checkpoints/x/a.pt"):
        with pytest.raises(ValueError, match="no job makes"):
            taken.take_in({name: b""})


def test_a_file_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    thread = threading.Timer(0.3, (tmp_path / "late").touch)
    thread.start()
    _await(tmp_path / "late")
    assert (tmp_path / "late").exists()
    thread.join()
