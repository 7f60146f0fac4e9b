"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrobust.benchmark.executors.base import Executor, Job, Prepare, Result, Work
from attrobust.benchmark.executors.progress import RunBar


class Serial(Executor):
    """Carries out jobs in the order of the plan.

    Args:
        work: what carries out one.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        """See ``Executor.run``."""
        with RunBar(jobs) as bar:
            for job in jobs:
                prepared = prepare(job)
                if isinstance(prepared, Result):
                    yield job, prepared
                else:
                    bar.begun(job)
                    yield prepared, self._work(prepared)
                bar.done(job)
