"""A run of the command that is disturbed, and what must be true of it afterwards."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

from helpers.forked import server
from helpers.runs import ROOT, run

Capture = pytest.CaptureFixture[str]
WORDS = ["--methods", "natural", "--explainers", "saliency", "--attacks", "noise:draws=2", "--metrics", "cosine"]
WORDS += ["--images", "2", "--baselines", "none", "--accuracy-attack", "none", "--no-audit"]
"""A run that writes files of most kinds in a fifth of a second."""
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard.bib")
UNCHECKED = (".lock", "log.txt")
"""Files of a run that no digest stands for."""
CALLS = ("fsync", "replace")
"""Calls of the operating system between which a run may be disturbed."""


def tables(folder: Path) -> dict[str, bytes]:
    """The tables of a run."""
    return {name: (folder / name).read_bytes() for name in TABLES}


def kinds(folder: Path) -> dict[str, list[Path]]:
    """The files of a run by their kind."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in UNCHECKED:
            parts = path.relative_to(folder).parts
            found[f"{parts[0]}/*{path.suffix}" if len(parts) > 1 else path.name].append(path)
    return found


def check_told(code: int, out: str, err: str) -> None:
    """A command that was disturbed ends with an exit code that is documented, and no traceback."""
    assert code in (0, 1, 2), (code, err)
    assert "Traceback" not in out + err, err
    if code == 2:
        assert sum(line.startswith("error: ") for line in err.splitlines()) == 1, err


def check_recovers(folder: Path, whole: dict[str, bytes], capsys: Capture) -> None:
    """The same command ends in the same tables as if nothing had happened; nothing is left over or damaged."""
    code, _, err = run([*WORDS, "--out", folder], capsys)
    assert code == 0, err
    assert tables(folder) == whole
    assert run(["verify", folder], capsys)[0] == 0
    assert [path.name for path in folder.rglob("*") if "attrobust-tmp" in path.name] == []


@contextmanager
def at_events(call: Callable[[int], None]) -> Iterator[None]:
    """Inside the block ``call`` is told the number of every moment before and after a write reaches the disk."""
    count = 0

    def noted(original: Callable[..., object]) -> Callable[..., object]:
        def replaced(*arguments: object, **settings: object) -> object:
            nonlocal count
            count += 1
            call(count)
            found = original(*arguments, **settings)
            count += 1
            call(count)
            return found

        return replaced

    originals = {name: getattr(os, name) for name in CALLS}
    for name, original in originals.items():
        setattr(os, name, noted(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


@contextmanager
def failing_at(number: int, code: int = errno.ENOSPC) -> Iterator[None]:
    """Inside the block the operating system reports an error at that moment."""

    def fail(count: int) -> None:
        if count == number:
            raise OSError(code, os.strerror(code))

    with at_events(fail):
        yield


def count_events(folder: Path) -> int:
    """How many such moments a whole run has."""
    found = [0]
    with at_events(found.append):
        assert main([*WORDS, "--out", str(folder)]) == 0
    return max(found)


def killed_at(number: int, folder: Path) -> int | None:
    """Run in a process of its own that is killed at that moment; returns its exit code."""
    process = server().Process(target=_die_at, args=(number, str(folder)))
    process.start()
    process.join()
    return process.exitcode


def _die_at(number: int, folder: str) -> None:
    os.chdir(ROOT)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())

    def die(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with at_events(die):
        sys.exit(main([*WORDS, "--out", folder]))


def spread(count: int, wanted: int) -> Sequence[int]:
    """Some of the numbers from 1 to ``count``, evenly spread; all where so many are wanted."""
    return sorted({1 + index * (count - 1) // max(1, wanted - 1) for index in range(min(count, wanted))})
