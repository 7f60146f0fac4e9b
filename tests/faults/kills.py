"""Kills driver and workers of runs at random moments until so many were killed; run by hand.

    PYTHONPATH=tests python tests/faults/kills.py [--kills 60] [--seed 0]

Every run is started again until it ends by itself, and its tables are compared with those of a run in one process, byte
for byte. Prints a line for each run, and at last how many kills there were and how many tables differ.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.processes import workers_of

ROOT = Path(__file__).parents[2]
WORDS = ["--methods", "natural,aga", "--explainers", "saliency", "--baselines", "none", "--images", "12"]
WORDS += ["--batch-size", "4", "--metrics", "cosine,topk:k=10%", "--accuracy-attack", "apgd:steps=2", "--no-audit"]
WORDS += ["--attacks", "noise:draws=2,topk:steps=20", "--retrain", "--epochs", "1", "--model", "lenet:width=4,hidden=8"]
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex")


def start(folder: Path, workers: int) -> subprocess.Popen[str]:
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *WORDS, "--workers", str(workers), "--out", str(folder)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_once(process: subprocess.Popen[str], rng: random.Random) -> str:
    """Kill the driver or a worker after a while; what was killed, empty where the run ended before."""
    deadline = time.monotonic() + rng.uniform(0.2, 6)
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return ""
        time.sleep(0.02)
    workers = list(workers_of(process.pid))
    if workers and rng.random() < 0.6:
        victim = rng.choice(workers)
        try:
            subprocess.run(["kill", "-9", str(victim)], check=True, capture_output=True)
        except subprocess.CalledProcessError:
            return ""
        return "worker"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return "driver"


def killed_run(folder: Path, rng: random.Random, wanted: int) -> tuple[list[str], int]:
    """Whom a run lost, and its exit code; it is started again until it ends by itself."""
    kills: list[str] = []
    while True:
        process = start(folder, workers=2)
        while process.poll() is None and len(kills) < wanted:
            if victim := kill_once(process, rng):
                kills.append(victim)
        _, err = process.communicate()
        if process.returncode == 1:  # A job whose process died three times: the same command tries it again.
            continue
        if process.returncode >= 0:
            if process.returncode:
                sys.stderr.write(err)
            return kills, process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, total, different = random.Random(options.seed), list[str](), 0
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        if start(whole, workers=1).wait():
            return 2
        wanted = {table: (whole / table).read_bytes() for table in TABLES}
        while len(total) < options.kills:
            folder = Path(name) / "killed"
            kills, code = killed_run(folder, rng, min(12, options.kills - len(total)))
            same = not code and all((folder / table).read_bytes() == data for table, data in wanted.items())
            total += kills
            different += not same
            print(f"{len(kills)} kills ({kills.count('driver')} of drivers): {'same' if same else 'OTHER'} tables")
            shutil.rmtree(folder)
    print(f"{len(total)} kills, {total.count('driver')} of drivers; {different} runs with other tables")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
