"""Which rows of the table are complete: each waits for its own jobs, of which several rows may share some."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from attrobust.benchmark.executors.base import Job
from attrobust.benchmark.run.plan import Part


class Waiting:
    """The parts of a plan until all their jobs are done.

    Args:
        parts: of the plan.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._left = [len(part.jobs) for part in parts]
        self._of: dict[str, list[int]] = collections.defaultdict(list)
        for index, part in enumerate(parts):
            for job in part.jobs:
                self._of[job.key].append(index)

    def done(self, job: Job) -> list[Part]:
        """The parts whose last job this was."""
        finished = []
        for index in self._of.pop(job.key, ()):
            self._left[index] -= 1
            if not self._left[index]:
                finished.append(self._parts[index])
        return finished
