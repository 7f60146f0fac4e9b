"""Worker processes on this machine: jobs are handed out, results come back, and one that dies is replaced."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from attrobust.benchmark.executors.base import Executor, Job, Prepare, Result
from attrobust.benchmark.executors.jobs import failed
from attrobust.benchmark.executors.process import Done, Message, Refused, Said, Setup, serve
from attrobust.benchmark.executors.progress import RunBar
from attrobust.benchmark.executors.schedule import Schedule
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
ATTEMPTS = 3
"""How often a job is begun whose process dies."""
TICK = 1.0
"""Seconds after which the progress bar is drawn again, whether anything was heard or not."""
PATIENCE = 0.5
"""Seconds that processes have to end when they are told to."""


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


class Workers(Executor):
    """Carries out jobs in processes of their own.

    Processes are made when there are jobs for them, and live until ``close``.

    Args:
        setups: one for each process.
    """

    def __init__(self, setups: Sequence[Setup]) -> None:
        self._setups = list(setups)
        self._processes: dict[int, _Process] = {}
        self._deaths: Counter[str] = Counter()

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        """See ``Executor.run``."""
        schedule = Schedule(jobs)
        try:
            with RunBar(jobs) as bar:
                while len(schedule):
                    while self._has_room and (job := schedule.take()) is not None:
                        prepared = prepare(job)
                        if isinstance(prepared, Result):
                            yield job, prepared
                            schedule.done(job)
                            bar.done(job)
                        else:
                            self._hand_out(prepared)
                            bar.begun(prepared)
                    bar.tick()
                    for job, result in self._finished() if self._busy else ():
                        yield job, result
                        schedule.done(job)
                        bar.done(job)
        except BaseException:
            self.close()
            raise

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
        process = context.Process(target=serve, args=(theirs, self._setups[place]), daemon=True)
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
            if isinstance(message, Refused):
                raise UsageError(message.reason)
            if isinstance(message, Said):
                LOG.log(message.level, "%s", message.text, extra={"file_only": message.file_only})
            elif isinstance(message, Done) and item.job is not None:
                found.append((item.job, message.result))
                item.job = None
            elif message is None:
                found += self._died(item)
        return found

    def _died(self, item: _Process) -> list[tuple[Job, Result]]:
        """Hand the job of a process that has died to another; its result where that was tried often enough."""
        item.process.join()
        item.connection.close()
        del self._processes[item.place]
        job, cause = item.job, _cause(item.process.exitcode)
        if job is None:
            return []
        self._deaths[job.key] += 1
        LOG.warning("%s: its worker process was ended by %s", job.label, cause)
        if self._deaths[job.key] < ATTEMPTS:
            self._hand_out(job)
            return []
        reason = f"its worker process was ended {ATTEMPTS} times, by {cause}"
        return [(job, failed(job, f"{reason}; if memory is short, use fewer --workers or a smaller --batch-size"))]


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
