"""Which job is next: of those whose needs are done the longest."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from attrobust.benchmark.executors.base import Job


class Schedule:
    """The jobs of a plan that are not handed out yet.

    Jobs of equal cost come in the order of the plan, so that the batches of a cell are begun in the order of their
    images.

    Args:
        jobs: with different keys, each after those it needs.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(jobs)
        self._left = len(self._jobs)
        self._missing = [0] * len(self._jobs)
        self._waiting: dict[str, list[int]] = {}
        self._ready: list[tuple[float, int]] = []
        known = {job.key for job in jobs}
        for index, job in enumerate(self._jobs):
            needs = set(job.needs) & known
            self._missing[index] = len(needs)
            for key in needs:
                self._waiting.setdefault(key, []).append(index)
            if not needs:
                self._push(index)

    def __len__(self) -> int:
        """How many jobs are not done."""
        return self._left

    def take(self) -> Job | None:
        """The next job whose needs are done; None where there is none at present."""
        return self._jobs[heapq.heappop(self._ready)[1]] if self._ready else None

    def done(self, job: Job) -> None:
        """A job is done, and its result has been taken in."""
        self._left -= 1
        for index in self._waiting.pop(job.key, []):
            self._missing[index] -= 1
            if not self._missing[index]:
                self._push(index)

    def _push(self, index: int) -> None:
        heapq.heappush(self._ready, (-self._jobs[index].cost, index))
