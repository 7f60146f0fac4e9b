"""Processes of a run, as the system lists them, and what one costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PEAK = """
import atexit, pathlib, runpy, sys
def note(path=sys.argv.pop(1)):
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    pathlib.Path(path).write_text(line.split()[1])
atexit.register(note)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script and writes its largest memory, in kB, into a file.

What ``wait4`` says of a process is no less than the memory of the one that started it.
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall and CPU seconds and MiB of a process, without those that it starts."""

    wall: float
    seconds: float
    memory: float


def cost_of(script: Sequence[str], folder: Path) -> Cost:
    """What a Python script with its arguments costs, run in a folder; raises SystemExit where it fails."""
    with tempfile.NamedTemporaryFile("r") as peak:
        start = time.perf_counter()
        line = [sys.executable, "-c", PEAK, peak.name, *script]
        process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(script)} failed")
        wall = time.perf_counter() - start
        return Cost(wall=wall, seconds=used.ru_utime + used.ru_stime, memory=int(peak.read()) / 1024)


def workers_of(pid: int, mark: str = "spawn_main") -> Iterator[int]:
    """The worker processes of a driver, or of a node of Ray: those that it made and whose command has a word in it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text()
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and mark in line:
            yield int(folder.name)


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
