"""The command in a process of its own that need not import torch, because it is forked from one that has."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from attrobust.benchmark.command.main import main

from helpers.runs import ROOT

IMPORTED = ["attrobust.benchmark.run.runner", "attrobust.benchmark.report.write", "captum.attr", "sklearn.datasets"]
IMPORTED += ["torch._dynamo"]
"""What a run imports; an optimiser of torch imports the compiler."""


@functools.cache
def server() -> ForkServerContext:
    """What forks: a process of this worker that has run nothing and holds no thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        forkserver.ensure_running()
    return context


class Forked:
    """The command, started; it sees the environment that the first of a worker had.

    Args:
        words: as typed.
    """

    def __init__(self, words: Sequence[str | Path]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name) / name for name in ("out", "err")]
        self._process = server().Process(target=_carry_out, args=([*map(str, words)], *map(str, self._said)))
        self._process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self._process.kill()
        self._process.join()

    def answer(self) -> tuple[int | None, str, str]:
        """Exit code, stdout and stderr, when it has ended."""
        self._process.join()
        out, err = (path.read_text() for path in self._said)
        return self._process.exitcode, out, err


def _carry_out(words: list[str], out: str, err: str) -> None:
    os.chdir(ROOT)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.exit(main(words))
