"""What there is to compute with: processors and memory."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Folders of Linux's control groups, of version 2 and 1, with the files that have the limit and what is used."""


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _words(Path("/sys/fs/cgroup/cpu.max"))
    if len(quota) == 2 and quota[0].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return count


def memory() -> int:
    """Bytes of memory that are free, as far as the system says; else as many as no run needs."""
    found = [2**50]
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for folder, limit_name, used_name in CONTROL_GROUPS:
        limit, used = (_words(folder / name) for name in (limit_name, used_name))
        if limit and used and limit[0].isdigit():
            # Pages of files that nobody uses at present are given back when memory is wanted.
            files = [line.split()[1] for line in _lines(folder / "memory.stat") if line.startswith("inactive_file ")]
            found.append(int(limit[0]) - int(used[0]) + sum(map(int, files)))
    return max(0, min(found))


def resident(peak: bool = False) -> int:
    """Bytes of memory that this process has, or has had at most since ``forget_peak``; 0 where the system is silent."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = (line for line in _lines(Path("/proc/self/status")) if line.startswith(name))
    return sum(int(line.split()[1]) * 1024 for line in lines)


def forget_peak() -> bool:
    """Give freed memory back and let ``resident(peak=True)`` begin anew; False where the system knows neither."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return False
    trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
