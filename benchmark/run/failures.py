"""What went wrong in the batches of a cell: the same whatever the order in which batches are done."""

from __future__ import annotations

from attrobust.benchmark.executors.jobs import BatchJob, BatchResult


class Failures:
    """The failures of a cell, of all of it or of some of its metrics; of several, that of the first images.

    Batches are begun in the order of their images, so that the first that fails is always among those that were done.
    """

    def __init__(self) -> None:
        self._whole: tuple[int, str] | None = None
        self._metrics: dict[int, tuple[int, str]] = {}

    def note(self, job: BatchJob, result: BatchResult) -> None:
        """Take in what went wrong in a batch, if anything did."""
        start = job.rows.start
        if result.error:
            new = (start, result.error)
            self._whole = min(self._whole or new, new)
        for done in result.parts:
            for position, failure in done.scores.failures.items():
                index, found = done.part.metrics[position], (start, failure.error)
                self._metrics[index] = min(self._metrics.get(index, found), found)

    @property
    def whole(self) -> bool:
        """Whether no metric can be computed."""
        return self._whole is not None

    @property
    def metrics(self) -> set[int]:
        """The metrics that have failed, by their position in the cell."""
        return set(self._metrics)

    def of(self, metric: int) -> str:
        """Why a metric has no scores, in one line; empty where nothing went wrong."""
        _, error = self._metrics.get(metric) or self._whole or (0, "")
        return error
