"""The contract between a run and what carries its jobs out: jobs and results are plain data, only the run writes rows.

A plan lists jobs, each after those it needs. An executor carries them out, here or in other processes, in any order in
which every job comes after those it needs. Before a job is carried out the run says, in its own process, what is still
missing of it; afterwards it takes the result in and writes what is to be kept. So an executor knows nothing of rows,
and whatever it loses with a process that dies is a job without a row, which the next run carries out again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attrobust.naming.safe import reason


@dataclass(frozen=True, kw_only=True)
class Job:
    """A piece of work, as data that can be pickled and is small: images and weights are named, not held.

    Attributes:
        key: fingerprint of all that decides the result, as far as it is known before anything is carried out. Equal
            requests have equal keys.
        needs: keys of the jobs whose results must be there before.
        label: as logs say it.
        group: the row of the table it belongs to, as progress bars say it; empty where several rows may share it.
        images: how many it attacks or scores, as progress bars count them.
        cost: how long it may take, in passes of one image; of several jobs that can be done the longest is begun first.
    """

    key: str
    needs: tuple[str, ...] = ()
    label: str
    group: str = ""
    images: int = 0
    cost: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a job, as data that can be pickled; as it stands, of a job of which nothing had to be done.

    Attributes:
        error: what went wrong, in one line; empty where nothing did.
        traceback: where it went wrong, for the log.
    """

    error: str = ""
    traceback: str = ""


Work = Callable[[Job], Result]
"""Carries out one job, in whatever process: a ``Worker``."""
Prepare = Callable[[Job], Job | Result]
"""Says what is to be done: the job, or less of it, with what its needs led to filled in; a result where nothing is."""


class Executor(ABC):
    """Turns jobs into results."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], prepare: Prepare) -> Iterator[tuple[Job, Result]]:
        """Carry out every job once, after those it needs.

        A job that goes wrong has a result that says so, and does not keep others from being carried out: what its
        failure means for those that need it is for ``prepare`` to say.

        Args:
            jobs: with different keys, each after those it needs.
            prepare: called in this process, once for every job, after the caller has taken in all results it needs.

        Yields:
            Every job, as ``prepare`` left it, with its result, as soon as there is one. The caller has taken it in
            when it asks for the next.

        Raises:
            UsageError: a job met a mistake of the user's, such as a file that is not what it was; the run ends.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of processes, whatever they are doing; nothing is run afterwards."""


def one_line(error: BaseException) -> str:
    """What went wrong, as rows and lists of failures say it."""
    return reason(error)
