"""Kills drivers, workers and nodes of runs at random moments until so many were killed; run by hand.

    PYTHONPATH=tests python tests/faults/kills.py [--kills 60] [--seed 0] [--ray]

Every run is started again until it ends by itself, and its tables are compared with those of a run in one process, byte
for byte. Parts are counted that were on disk when a run was started again and were made once more. Runs have two
processes on this machine. With ``--ray`` they are on a Ray cluster of two nodes, which is started here: one sees the
folder of the run, the other has a folder of its own. A node that is lost is followed by a new one. Prints a line for
each run, and at last what was killed and what differs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.processes import workers_of
from helpers.ray_nodes import RayNodes

ROOT = Path(__file__).parents[2]
WORDS = ["--methods", "natural,aga", "--explainers", "saliency", "--baselines", "none", "--images", "12"]
WORDS += ["--batch-size", "4", "--metrics", "cosine,topk:k=10%,roar:levels=50,repeats=1", "--no-audit", "--retrain"]
WORDS += ["--attacks", "noise:draws=2,topk:steps=20", "--accuracy-attack", "apgd:steps=2", "--epochs", "2"]
WORDS += ["--model", "lenet:width=4,hidden=8"]
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")
PARTS = ("checkpoints/*.pt", "retrainings/*.hits", "attacked/*/*", "scores/*.npz")
"""Files of a folder of a run: what a run never makes twice, unless it was being written when the run was killed."""
PATIENCE = 300.0
"""Seconds after which a run that nobody disturbs hangs."""
TRIES = 5
"""How often in a row a run may fail that nobody disturbs."""


class Local:
    """Runs with two worker processes."""

    words = ("--workers", "2")
    kinds = ("driver", "worker")

    def kill(self, kind: str, driver: subprocess.Popen[str], rng: random.Random) -> bool:
        """Kill something of a running command; whether it was there."""
        return _killed(rng, list(workers_of(driver.pid))) if kind == "worker" else _killed(rng, [driver.pid])

    def close(self) -> None:
        """Nothing is kept."""


class OnRay:
    """Runs on a Ray cluster of two nodes, one of which does not use the folder of the run.

    Args:
        scratch: the folder that it uses instead.
    """

    kinds = ("driver", "actor", "node")

    def __init__(self, scratch: Path) -> None:
        self._variables: list[dict[str, str]] = [{}, {"ATTROBUST_SCRATCH": str(scratch)}]
        self._nodes = RayNodes(*self._variables)
        self.words = ("--executor", self._nodes.address)
        self.close = self._nodes.close

    def kill(self, kind: str, driver: subprocess.Popen[str], rng: random.Random) -> bool:
        """Kill something of a running command; whether it was there."""
        if kind == "node":
            index = rng.randrange(2)
            self._variables.append(self._variables.pop(index))
            self._nodes.lose(index)
            self._nodes.add(self._variables[-1])
            return True
        return _killed(rng, self._nodes.actors() if kind == "actor" else [driver.pid])


def _killed(rng: random.Random, pids: Sequence[int]) -> bool:
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)
            return True
    return False


@dataclass
class Killed:
    """What became of a run.

    Attributes:
        kills: what was killed.
        starts: how often it was started.
        again: parts that were on disk at a start and were made again after it.
        error: what kept it from ending by itself.
    """

    kills: list[str] = field(default_factory=list)
    starts: int = 0
    again: set[str] = field(default_factory=set)
    error: str = ""


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *WORDS, *words, "--out", str(folder)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def parts(folder: Path) -> dict[str, int]:
    """The finished parts of a run, with the number by which the file system knows each."""
    found = [path for pattern in PARTS for path in folder.glob(pattern) if not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.stat().st_ino for path in found}


def killed_run(folder: Path, place: Local | OnRay, rng: random.Random, wanted: int, longest: float) -> Killed:
    """Start a run until it ends by itself, and kill something of it so many times."""
    found, failures = Killed(), 0
    while True:
        before = parts(folder)
        process = start(folder, place.words)
        found.starts += 1
        disturbed = len(found.kills) < wanted
        while process.poll() is None and len(found.kills) < wanted:
            kind = rng.choice(place.kinds)
            if _wait(process, rng.uniform(0.2, longest)) and place.kill(kind, process, rng):
                found.kills.append(kind)
        try:
            _, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            found.error = f"hangs\n{process.communicate()[1]}"
            return found
        after = parts(folder)
        found.again |= {name for name, number in before.items() if after.get(name) != number}
        failures = failures + 1 if process.returncode > 0 and not disturbed else 0
        if process.returncode > 1 or failures == TRIES:
            found.error = f"exit code {process.returncode}\n{err}"
        # Exit code 1: a job was lost three times; the same command tries it again.
        if process.returncode == 0 or found.error:
            return found


def _wait(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether a command still runs after some seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is None


def counted(kills: Sequence[str]) -> str:
    counts = Counter(kills)
    return ", ".join(f"{counts[kind]} {kind}{'s' if counts[kind] > 1 else ''}" for kind in sorted(counts)) or "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true", help="kill drivers, actors and nodes on a Ray cluster")
    parser.add_argument("--longest", type=float, default=6, help="seconds between two kills, at most")
    options = parser.parse_args()
    if options.ray and importlib.util.find_spec("ray") is None:
        sys.stderr.write("error: --ray needs Ray, which is not installed here: pip install 'attrobust[cluster]'\n")
        return 2
    rng = random.Random(options.seed)
    kills, again, different = list[str](), 0, 0
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as held:
        whole, folder, scratch = (Path(name) / part for part in ("whole", "killed", "scratch"))
        scratch.mkdir()
        if start(whole, ["--workers", "1"]).wait():
            return 2
        tables = {table: (whole / table).read_bytes() for table in TABLES}
        place = held.enter_context(contextlib.closing(OnRay(scratch) if options.ray else Local()))
        while len(kills) < options.kills:
            run = killed_run(folder, place, rng, min(12, options.kills - len(kills)), options.longest)
            same = not run.error and all((folder / table).read_bytes() == data for table, data in tables.items())
            kills, again, different = kills + run.kills, again + len(run.again), different + (not same)
            print(
                f"{counted(run.kills)}; {run.starts} starts; {'same' if same else 'OTHER'} tables",
                run.error,
                flush=True,
            )
            for part in sorted(run.again):
                print(f"  made again: {part}")
            shutil.rmtree(folder)
    print(f"{counted(kills)} killed; {again} parts made again; {different} runs with other tables")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
