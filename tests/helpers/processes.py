"""Processes of a run, as the system lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def workers_of(pid: int) -> Iterator[int]:
    """The worker processes of a driver."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text()
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and "spawn_main" in line:
            yield int(folder.name)


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
