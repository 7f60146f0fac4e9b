"""What executors share whose jobs are carried out elsewhere: several at once, and one that is lost is begun again."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

from attrobust.benchmark.executors.base import Executor, Job, Prepare, Result
from attrobust.benchmark.executors.jobs import failed
from attrobust.benchmark.executors.progress import RunBar
from attrobust.benchmark.executors.schedule import Schedule

LOG = logging.getLogger("attrobust")
ATTEMPTS = 3
"""How often a job is begun whose process dies."""
PATIENCE = 0.5
"""Seconds that processes have to end when they are told to."""


class Pool(Executor):
    """Hands out jobs while there is room, the longest first, and takes in results."""

    def __init__(self) -> None:
        self._losses: Counter[str] = Counter()

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
                    for job, result in self._finished() if self._busy or not self._has_room else ():
                        yield job, result
                        schedule.done(job)
                        bar.done(job)
        except BaseException:
            self.close()
            raise

    @property
    @abstractmethod
    def _has_room(self) -> bool:
        """Whether one more job can be handed out."""

    @property
    @abstractmethod
    def _busy(self) -> int:
        """How many jobs are handed out."""

    @abstractmethod
    def _hand_out(self, job: Job) -> None:
        """Let a job be carried out."""

    @abstractmethod
    def _finished(self) -> Sequence[tuple[Job, Result]]:
        """Wait until something is heard, or a moment; the jobs that are done, or were lost too often."""

    def _lost(self, job: Job, what: str, cause: str) -> list[tuple[Job, Result]]:
        """Hand a job out again; its result where that was tried often enough.

        Args:
            job: that was being carried out.
            what: happened to what carried it out.
            cause: of that.
        """
        self._losses[job.key] += 1
        LOG.warning("%s: %s by %s", job.label, what, cause)
        if self._losses[job.key] < ATTEMPTS:
            self._hand_out(job)
            return []
        reason = f"{what} {ATTEMPTS} times, by {cause}"
        return [(job, failed(job, f"{reason}; if memory is short, use fewer --workers or a smaller --batch-size"))]
