"""One job after the other, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from attrobust.benchmark.executors.base import Executor, Job, Prepare, Result, Work


class Serial(Executor):
    """Carries out jobs in the order of the plan.

    Args:
        work: what carries out one.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        """See ``Executor.run``; a progress bar counts the images of each row of the table."""
        for group, members in itertools.groupby(jobs, key=lambda job: job.group):
            steps = list(members)
            total = sum(job.images for job in steps)
            with tqdm(total=total, desc=group, unit="image", leave=False, disable=None if group else True) as bar:
                for job in steps:
                    prepared = prepare(job)
                    if isinstance(prepared, Result):
                        yield job, prepared
                    else:
                        yield prepared, self._work(prepared)
                    bar.update(job.images)
