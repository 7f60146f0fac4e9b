"""A table of what the command costs beside what it computes; run by hand.

    OMP_NUM_THREADS=1 python tests/speed/run.py [--whole]

CPU seconds, user and system, and largest memory of processes of their own: the least of three, in turns, so that other
work on the machine weighs on all of them alike. The run that is done again is the default command with few images,
steps and draws; with ``--whole`` it is the default command itself, whose first time, measured once, takes minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [str(ROOT / "run_benchmark.py")]
DEFAULT = [*COMMAND, "--methods", "aga,hessian,pgd-at", "--workers", "1"]
SMALL = ["--images", "8", "--attacks", "noise:draws=2,topk:steps=1,target:steps=1", "--accuracy-attack", "apgd:steps=1"]
SMALL += ["--no-audit"]
REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """CPU seconds and MiB of a process."""

    seconds: float
    memory: float


def cost(words: list[str]) -> Cost:
    """What a Python process with these arguments costs; raises CalledProcessError where it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise subprocess.CalledProcessError(status, words, said.read())
    return Cost(seconds=used.ru_utime + used.ru_stime, memory=used.ru_maxrss / 1024)


def least(costs: list[Cost]) -> Cost:
    return Cost(seconds=min(item.seconds for item in costs), memory=min(item.memory for item in costs))


def main(options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = [*DEFAULT, *([] if "--whole" in options else SMALL), "--out", folder]
        first = cost(run)
        jobs = {
            "import torch": ["-c", "import torch"],
            "--help": [*COMMAND, "--help"],
            "--list": [*COMMAND, "--list"],
            "--dry-run": [*DEFAULT, "--dry-run", "--out", f"{folder}/none"],
            "the run again": run,
            "its report": [*COMMAND, "report", folder],
        }
        taken: dict[str, list[Cost]] = {name: [] for name in jobs}
        for _ in range(REPEATS):
            for name, words in jobs.items():
                taken[name].append(cost(words))
    costs = {name: least(found) for name, found in taken.items()} | {"the run, once": first}
    unit = costs["import torch"].seconds
    print(f"{'process':<18}{'CPU s':>8}{'torch = 1':>11}{'MiB':>7}")
    for name, found in costs.items():
        print(f"{name:<18}{found.seconds:>8.2f}{found.seconds / unit:>11.2f}{found.memory:>7.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true")
    main(["--whole"] if parser.parse_args().whole else [])
