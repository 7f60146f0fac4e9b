"""Cells that are computed in batches: what of them is handed out, taken in, and written once it is complete."""

from __future__ import annotations

import collections
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from attrobust.benchmark.executors.base import Job, Result, one_line
from attrobust.benchmark.executors.jobs import BatchJob, BatchResult, CellJob
from attrobust.benchmark.run.coverage import Stretch
from attrobust.benchmark.run.failures import Failures
from attrobust.benchmark.run.pieces import CellParts, Identify
from attrobust.benchmark.run.rows import failed_rows, scored_rows
from attrobust.benchmark.store.rows import Provenance, Row, ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.types import Flag

LOG = logging.getLogger("attrobust")
CELL = {"is_progress": True}
"""Marks a record of the log that says no more than that something is done, as a progress bar does."""


class Assembly:
    """The batches of a run. Cells are given to it with the hashes of weights filled in.

    Args:
        store, rows, identify: see ``CellParts``.
    """

    def __init__(self, store: Store, rows: Mapping[str, Row], identify: Identify) -> None:
        self._store = store
        self._parts = CellParts(store, rows, identify)
        self._failures: dict[str, Failures] = collections.defaultdict(Failures)

    def prepare(self, job: BatchJob, cell: CellJob, lacking: Sequence[int]) -> Job | Result:
        """What is to be done of a batch; nothing more of a cell that has failed, or of a metric that has.

        Args:
            job: as planned.
            cell: that it belongs to.
            lacking: metrics of the cell that have no row, by their position.
        """
        failures = self._failures[cell.key]
        wanted = [index for index in lacking if index not in failures.metrics]
        if not wanted or failures.whole:
            return Result()
        filled = replace(job, whole=replace(cell, needs=(), batches=()))
        parts = self._parts.left(filled, wanted)
        return replace(filled, parts=parts) if parts else Result()

    def stretches(self, job: BatchJob, cell: CellJob, lacking: Sequence[int]) -> list[Stretch]:
        """What is left of a batch, see ``CellParts.stretches``; arguments as for ``prepare``."""
        return self._parts.stretches(replace(job, whole=cell), lacking)

    def accept(self, job: BatchJob, result: BatchResult) -> None:
        """Write what was computed of a batch, and remember what failed."""
        self._parts.take_in(job, result)
        self._failures[job.whole.key].note(job, result)

    def rows(
        self, job: CellJob, lacking: Sequence[int], flags: tuple[Flag, ...] | None, provenance: Provenance
    ) -> tuple[list[Row], list[str]]:
        """The rows of a cell whose batches are done, and what went wrong.

        Args:
            job: the cell.
            lacking: metrics that have no row, by their position.
            flags: of the cell's audit.
            provenance: of rows that failed.
        """
        rows: list[Row] = []
        problems: dict[str, None] = {}
        for index in lacking:
            one, problem = only(job, [index]), self._failures[job.key].of(index)
            try:
                found = None if problem else self._parts.whole(job, index)
            except ValueError as error:
                found, problem = None, one_line(error)
            if found is None:
                problem = problem or "some of its images were not computed; run the same command again"
                rows += failed_rows(one, problem, provenance)
                problems[problem] = None
                continue
            scores, seconds, who = found
            rows += scored_rows(one, scores, seconds=seconds, provenance=who, flags=flags, store=self._store)
        if took := [row.seconds for row in rows if isinstance(row, ScoredRow)]:
            LOG.info("%s: %.1f s", job.label, max(took), extra=CELL)
        return rows, list(problems)

    def forget(self, job: CellJob) -> None:
        """Remove the batches of a cell whose rows are all written."""
        self._parts.forget(job)


def only(job: CellJob, metrics: Sequence[int]) -> CellJob:
    """A cell with some of its metrics; accuracy, which is none, stays as it is."""
    return replace(job, metrics=tuple(job.metrics[index] for index in metrics)) if job.metrics else job
