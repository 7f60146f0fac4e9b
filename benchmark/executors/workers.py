"""Worker processes on this machine: jobs are handed out, results come back, and one that dies is replaced."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from attrobust.benchmark.executors.base import Job, Result
from attrobust.benchmark.executors.entry import begin
from attrobust.benchmark.executors.pool import PATIENCE, Pool
from attrobust.benchmark.executors.process import Message, Ready, Setup, heard
from attrobust.children import made_unaware
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
TICK = 1.0
"""Seconds after which the progress bar is drawn again, whether anything was heard or not."""


@dataclass
class _Process:
    """A worker process.

    Attributes:
        place: its number, which a process that replaces it has too.
        process, connection: of it.
        job: that it carries out.
    """

    place: int
    process: BaseProcess
    connection: Connection
    job: Job | None = None


class Workers(Pool):
    """Carries out jobs in processes of their own.

    Processes are made when there are jobs for them, and live until ``close``.

    Args:
        setups: one for each process.
    """

    def __init__(self, setups: Sequence[Setup]) -> None:
        super().__init__()
        self._setups = list(setups)
        self._processes: dict[int, _Process] = {}

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        processes = [item.process for item in self._processes.values()]
        for item in self._processes.values():
            item.connection.close()
            if item.job is not None:
                item.process.terminate()
        for process in processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    def wait_for_one(self) -> None:
        """Make a process and wait until it can be given jobs; raises UsageError where it cannot start."""
        connection = self._made(0).connection
        while (message := _received(connection)) is not None:
            heard(message)
            if isinstance(message, Ready):
                return
        raise UsageError("a worker process ended before it could be given jobs")

    @property
    def _has_room(self) -> bool:
        return self._busy < len(self._setups)

    @property
    def _busy(self) -> int:
        return sum(item.job is not None for item in self._processes.values())

    def _hand_out(self, job: Job) -> None:
        """Give a job to a process that has none, made now where there is none."""
        free = next((item for item in self._processes.values() if item.job is None), None)
        item = free or self._made(next(place for place in range(len(self._setups)) if place not in self._processes))
        item.job = job
        try:
            item.connection.send(job)
        except OSError:
            LOG.debug("worker %d was gone when it was given %s", item.place, job.label)

    def _made(self, place: int) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=begin, args=(theirs, pickle.dumps(self._setups[place])), daemon=True)
        with made_unaware():
            process.start()
        theirs.close()
        self._processes[place] = _Process(place=place, process=process, connection=ours)
        return self._processes[place]

    def _finished(self) -> list[tuple[Job, Result]]:
        """Wait a little for what is heard; the jobs that are done, or whose process has died too often."""
        by_connection: dict[Any, _Process] = {item.connection: item for item in self._processes.values()}
        found: list[tuple[Job, Result]] = []
        for connection in wait(list(by_connection), TICK):
            item = by_connection[connection]
            message = _received(item.connection)
            if message is None:
                found += self._died(item)
            elif (result := heard(message)) is not None and item.job is not None:
                found.append((item.job, result))
                item.job = None
        return found

    def _died(self, item: _Process) -> list[tuple[Job, Result]]:
        """Hand the job of a process that has died to another; its result where that was tried often enough."""
        item.process.join()
        item.connection.close()
        del self._processes[item.place]
        if item.job is None:
            return []
        return self._lost(item.job, "its worker process was ended", _cause(item.process.exitcode))


def seconds_to_start(setup: Setup) -> float:
    """How long a process takes until it can be given jobs, found out by starting one.

    Raises:
        UsageError: it cannot start.
    """
    started = time.monotonic()
    with closing(Workers([setup])) as workers:
        workers.wait_for_one()
        return time.monotonic() - started


def _received(connection: Connection) -> Message | None:
    """The next message; None where the process has died."""
    try:
        message: Message = connection.recv()
    except (EOFError, OSError):
        return None
    return message


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"
