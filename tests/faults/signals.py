"""Ends runs by signals at random moments, the imports among them, until so many were sent; run by hand.

    PYTHONPATH=tests python tests/faults/signals.py [--tries 42] [--workers N] [--longest SECONDS] [--seed 0]

Every try must end with the signal's exit code and one last line that says how to go on, with no traceback and no
temporary file left. A signal that comes before Python has read the first line of the command, or after the run is
done, is counted apart. Then the same command is run to its end, and its table compared with that of a run that nobody
ended. Prints what was tried, and what survived.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = ["--methods", "natural", "--explainers", "saliency", "--baselines", "none", "--images", "4"]
WORDS += ["--batch-size", "2", "--metrics", "cosine,topk:k=10%", "--no-audit", "--attacks", "topk:steps=2"]
WORDS += ["--accuracy-attack", "none"]
TRAINED = ["--retrain", "--epochs", "2", "--model", "lenet:width=4,hidden=8"]
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in NAMES)
TERMINAL = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Those that a terminal sends."""
LAST = "the same command goes on where it stopped"
TABLE = "leaderboard.csv"
PATIENCE = 120.0
"""Seconds after which a command that was told to end hangs."""


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """The command as a terminal starts it: no signal is ignored."""
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *WORDS, *TRAINED, *words, "--out", str(folder)]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS[1:]}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for number, handler in before.items():
        signal.signal(number, handler)
    return process


def used(pid: int) -> float:
    """Seconds of the CPU that a process has used, whatever else the machine does; of Linux alone."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def litter(folder: Path) -> list[str]:
    """Temporary files in the folder of a run."""
    return [path.name for path in folder.rglob(".*.attrobust-tmp")]


def ended(folder: Path, words: Sequence[str], number: signal.Signals, seconds: float) -> tuple[str, str]:
    """What became of a run that was sent a signal after some seconds of the CPU: a word, and what it printed."""
    process = start(folder, words)
    while process.poll() is None and used(process.pid) < seconds:
        time.sleep(0.01)
    if process.poll() is not None:
        process.communicate()
        return "done before", ""
    # What a terminal sends reaches all processes of a command, the others the one that they are sent to.
    (functools.partial(os.killpg, process.pid) if number in TERMINAL else process.send_signal)(number)
    try:
        _, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return "hangs", process.communicate()[1]
    return judged(process.returncode, err, number, litter(folder)), err


def judged(code: int, err: str, number: signal.Signals, left: Sequence[str]) -> str:
    """Whether an end was as it should be."""
    lines = err.strip().splitlines()
    if code == 0:
        return "done before" if not lines or LAST not in lines[-1] else "exit code 0"
    if code == -number or (number == signal.SIGINT and "init_import_site" in err):
        return "before the first line" if not lines or "site" in err else "died"
    if "Traceback" in err or "Exception ignored" in err:
        return "traceback"
    if code != 128 + number:
        return f"exit code {code}"
    if not lines or not lines[-1].endswith(LAST):
        return "no last line"
    return "temporary files" if left else "survived"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=42)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, help="seconds of the CPU until a signal, at most (default: a run's)")
    options = parser.parse_args()
    rng, words = random.Random(options.seed), ["--workers", options.workers]
    counts: dict[signal.Signals, Counter[str]] = {number: Counter() for number in SIGNALS}
    other = 0
    with tempfile.TemporaryDirectory() as name:
        process = start(Path(name) / "whole", words)
        whole = 0.0
        while process.poll() is None:
            whole = used(process.pid)
            time.sleep(0.01)
        if process.returncode:
            sys.stderr.write(process.communicate()[1])
            return 2
        longest = options.longest or whole
        wanted = (Path(name) / "whole" / TABLE).read_bytes()
        for index in range(options.tries):
            number, seconds = SIGNALS[index % len(SIGNALS)], rng.uniform(0.0, longest)
            folder = Path(name) / f"ended-{index // 6}"
            word, err = ended(folder, words, number, seconds)
            counts[number][word] += 1
            if word not in ("survived", "done before"):
                print(f"{number.name} after {seconds:.2f} s: {word}\n{err[-1500:]}", flush=True)
            if index % 6 == 5 or index == options.tries - 1:
                process = start(folder, words)
                _, err = process.communicate()
                if process.returncode or (folder / TABLE).read_bytes() != wanted:
                    other += 1
                    print(f"another table, exit code {process.returncode}\n{err}", flush=True)
    for number, found in counts.items():
        print(f"{number.name}: {found.total()} tried: {', '.join(f'{found[word]} {word}' for word in sorted(found))}")
    print(f"{other} runs with other tables")
    wrong = {word for found in counts.values() for word in found} - {"survived", "done before", "before the first line"}
    return 1 if other or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
