"""One bar for a whole run: images done of how many, images per second, time left, and what is being done."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from attrobust.benchmark.executors.base import Job

SHOWN = 48
"""Characters of what is being done."""


class RunBar:
    """A progress bar on stderr; none without a terminal, or where nothing is counted.

    Args:
        jobs: of the run.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        total = sum(job.images for job in jobs)
        self._bar = tqdm(total=total, unit=" images", desc="run", leave=False, disable=None if total else True)
        self._now: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def begun(self, job: Job) -> None:
        """A job is being carried out."""
        self._now[job.key] = job.label
        self._show()

    def done(self, job: Job) -> None:
        """A job is done, whether there was anything to do or not."""
        if self._now.pop(job.key, None) is not None:
            self._show()
        self._bar.update(job.images)

    def tick(self) -> None:
        """Time has passed."""
        self._bar.refresh()

    def _show(self) -> None:
        words = "; ".join(dict.fromkeys(self._now.values()))
        self._bar.set_postfix_str(words if len(words) <= SHOWN else words[: SHOWN - 1] + "…", refresh=False)
