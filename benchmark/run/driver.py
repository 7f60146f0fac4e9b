"""Between a plan and the rows on disk: what is missing is handed to an executor, what comes back is written.

Only the driver reads and writes rows. What an executor is given depends on rows alone, and so does what a table shows,
in whatever order and by whomever jobs are carried out.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from attrobust.benchmark.executors.base import Executor, Job, Result
from attrobust.benchmark.executors.inputs import stamp_of
from attrobust.benchmark.executors.jobs import (
    AuditJob,
    AuditResult,
    BatchJob,
    BatchResult,
    CellJob,
    CellResult,
    ClaimJob,
    ClaimResult,
    NetworkJob,
    NetworkResult,
    RetrainingJob,
)
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.assembly import CELL, Assembly, only
from attrobust.benchmark.run.audits import KnownFlags
from attrobust.benchmark.run.cells import rows_of, with_weights
from attrobust.benchmark.run.completed import Completed
from attrobust.benchmark.run.coverage import Stretch
from attrobust.benchmark.run.flags import audited, is_current
from attrobust.benchmark.run.known import KnownRows
from attrobust.benchmark.run.pieces import Identify
from attrobust.benchmark.run.plan import Part, Plan
from attrobust.benchmark.run.rows import failed_rows, is_of, scored_rows, with_facts
from attrobust.benchmark.run.waiting import Waiting
from attrobust.benchmark.store.rows import FailedRow, Row, ScoredRow
from attrobust.benchmark.store.store import Store

LOG = logging.getLogger("attrobust")
FILE_ONLY = {"file_only": True}
"""Marks a record of the log that is not for the screen."""


class Driver:
    """Carries out the plans of one run.

    Args:
        request: of the run.
        store: where its rows are.
        identify: see ``CellParts``.
    """

    def __init__(self, request: Request, store: Store, identify: Identify) -> None:
        self._request, self._store = request, store
        self.rows: dict[str, Row] = store.rows()
        self._known = KnownRows(store, self.rows)
        self._audited: dict[str, list[CellJob]] = {}
        self._results: dict[str, Result] = {}
        self._cells: dict[str, CellJob] = {}
        self._flags = KnownFlags(store, self._known, identify)
        self._assembly = Assembly(store, self.rows, identify)

    def run(self, plan: Plan, executor: Executor) -> Iterator[Completed]:
        """Let what is missing of a plan be computed; yields each row of the table as soon as all its jobs are done."""
        jobs = plan.jobs
        self._cells = {job.key: job for job in jobs if isinstance(job, CellJob)}
        self._audited = collections.defaultdict(list)
        for cell in self._cells.values():
            self._audited[cell.audit].append(cell)
        waiting = Waiting(plan.parts)
        for job, result in executor.run(jobs, self._prepare):
            self._accept(job, result)
            yield from map(self._completed, waiting.done(job))

    def lacking(self, job: CellJob) -> tuple[int, ...]:
        """See ``KnownRows.lacking``."""
        return self._known.lacking(job)

    def stretches(self, job: BatchJob, cell: CellJob) -> list[Stretch]:
        """What is left of a batch of a cell with the hashes of weights filled in."""
        return self._assembly.stretches(job, cell, self.lacking(cell))

    def is_audited(self, cells: Sequence[CellJob]) -> bool:
        """See ``KnownFlags.find``."""
        return self._flags.find(cells)

    def _prepare(self, job: Job) -> Job | Result:
        """See ``Executor.run``."""
        if job.key in self._results:
            return self._results[job.key]
        if isinstance(job, NetworkJob):
            return self._prepare_network(job)
        if isinstance(job, BatchJob):
            return self._prepare_batch(job)
        if isinstance(job, RetrainingJob):
            return self._prepare_retraining(job)
        if isinstance(job, CellJob):
            return self._prepare_cell(job)
        if isinstance(job, AuditJob):
            return self._prepare_audit(job)
        if isinstance(job, ClaimJob):
            return self._prepare_claim(job)
        return job

    def _prepare_network(self, job: NetworkJob) -> Job | Result:
        if job.unavailable:
            return NetworkResult(error=job.unavailable)
        start = next((self._results[key].error for key in job.needs if self._results[key].error), "")
        return NetworkResult(error=start) if start else job

    def _prepare_batch(self, job: BatchJob) -> Job | Result:
        cell = self._filled(self._cells[job.whole.key])
        return Result() if self._problem(cell) else self._assembly.prepare(job, cell, self.lacking(cell))

    def _prepare_retraining(self, job: RetrainingJob) -> Job | Result:
        cell = self._filled(self._cells[job.whole.key])
        wanted = self.lacking(cell) and not self._problem(cell)
        return replace(job, whole=replace(cell, needs=())) if wanted else Result()

    def _prepare_cell(self, job: CellJob) -> Job | Result:
        filled = self._filled(job)
        lacking, problem = self.lacking(filled), self._problem(job)
        failures: list[str] = []
        if lacking and problem:
            self._append(failed_rows(only(filled, lacking), problem, stamp_of(self._request)))
        elif lacking and not job.batches:
            return only(filled, lacking)
        elif lacking:
            rows, failures = self._assembly.rows(filled, lacking, self._flags.of(job.audit), stamp_of(self._request))
            self._append(rows)
        if job.batches and not failures:
            self._assembly.forget(filled)
        self._renew_facts(filled)
        self._renew_flags(filled)
        return Result(error="; ".join(failures))

    def _prepare_audit(self, job: AuditJob) -> Job | Result:
        """Nothing is audited whose flags are on disk already, or no row is going to carry."""
        cells = [self._filled(cell) for cell in self._audited[job.key]]
        if self._flags.find(cells):
            return Result()
        wanted = [cell for cell in cells if self._stale(cell) or (self.lacking(cell) and not self._problem(cell))]
        return replace(job, cell=wanted[0].cell) if wanted else Result()

    def _prepare_claim(self, job: ClaimJob) -> Job | Result:
        accuracy = next(self._filled(self._cells[key]) for key in job.needs if key in self._cells)
        row = self.rows[self._known.keys(accuracy)[0]]
        if isinstance(row, FailedRow):
            return Result()
        return replace(job, hits=tuple((self._store.load_scores(row)[0] > 0).tolist()))

    def _accept(self, job: Job, result: Result) -> None:
        """Take in the result of a job, once."""
        if job.key in self._results:
            return
        self._results[job.key] = result
        if result.traceback:
            what = ": training failed" if isinstance(job, NetworkJob) else " failed"
            LOG.error("%s%s\n%s", job.label, what, result.traceback.rstrip(), extra=FILE_ONLY)
        if isinstance(job, BatchJob) and isinstance(result, BatchResult):
            self._assembly.accept(job, result)
            # Scores are on disk, and results of attacks may be large.
            self._results[job.key] = Result(error=result.error)
        elif isinstance(job, CellJob) and isinstance(result, CellResult):
            self._write(job, result)
            self._results[job.key] = Result(error=result.error)
            self._renew_facts(self._filled(self._cells[job.key]))
            self._renew_flags(self._filled(self._cells[job.key]))
        elif isinstance(job, AuditJob) and isinstance(result, AuditResult):
            self._flags.take_in(job, result)
            for flag in result.flags:
                LOG.warning("%s: %s: %s", job.label, flag.name, flag.reason)
            LOG.info("%s: %.1f s", job.label, result.seconds, extra=CELL)
        elif isinstance(result, ClaimResult):
            LOG.info("%s: %s", job.label, result.finding.line)
            for warning in result.finding.warnings:
                LOG.warning("warning: %s: %s", job.label, warning)

    def _write(self, job: CellJob, result: CellResult) -> None:
        provenance = result.provenance or stamp_of(self._request)
        if result.scores is None:
            self._append(failed_rows(job, result.error, provenance))
            return
        rows = scored_rows(
            job,
            result.scores,
            seconds=result.seconds,
            provenance=provenance,
            flags=self._flags.of(job.audit),
            store=self._store,
        )
        self._append(rows)
        LOG.info("%s: %.1f s", job.label, result.seconds, extra=CELL)

    def _renew_flags(self, job: CellJob) -> None:
        """Write rows again whose flags are of another audit, or of none."""
        flags = self._flags.of(job.audit)
        if flags is not None and (stale := self._stale(job)):
            self._append([audited(row, flags) for row in stale])

    def _renew_facts(self, job: CellJob) -> None:
        """Write rows again that say something else of their metric than it says now, as another version may have."""
        lacking = self.lacking(job)
        if stale := [
            with_facts(row, facts, self._store)
            for index, (row, (_, facts)) in enumerate(zip(self._known.of(job), rows_of(job), strict=True))
            if index not in lacking and isinstance(row, ScoredRow) and not is_of(row.metric, facts)
        ]:
            self._append(stale)

    def _stale(self, job: CellJob) -> list[ScoredRow]:
        """Rows of a cell on disk whose flags are not those of the audit as it is now."""
        rows = self._known.of(job) if job.audit else []
        return [row for row in rows if isinstance(row, ScoredRow) and not is_current(row)]

    def _filled(self, job: CellJob) -> CellJob:
        """A cell with the hashes of the weights that were found, empty where there is no network."""
        return with_weights(job, self.network(job.network).sha256, self.network(job.source_model).sha256)

    def network(self, job: NetworkJob | None) -> NetworkResult:
        """What a job led to; no weights where it was not carried out."""
        found = self._results.get(job.key) if job else None
        return found if isinstance(found, NetworkResult) else NetworkResult()

    def _problem(self, job: CellJob) -> str:
        """Why a cell cannot be computed, in one line; empty where it can."""
        if error := self.network(job.network).error:
            return f"{job.group}: {error}"
        error = self.network(job.source_model).error
        return f"source model {job.attack.item.source_model}: {error}" if error and job.attack else ""

    def _completed(self, part: Part) -> Completed:
        subject, network = part.subject, self.network(part.network)
        failures = []
        if network.error:
            failures.append(f"{subject.label}: {network.error}")
        else:
            found = {name: self.network(job).error for name, job in part.source_models.items()}
            failures += [f"source model {name}: {error}" for name, error in found.items() if error]
        for cell in part.cells:
            if error := self._results[cell.job.key].error:
                failures.append(f"{cell.job.label}: {error}")
        for job in part.jobs:
            if isinstance(job, (AuditJob, ClaimJob)) and (error := self._results[job.key].error):
                failures.append(f"{job.label}: {error}")
        claim = self._results.get(part.claim.key) if part.claim else None
        findings = {subject.label: claim.finding.facts} if isinstance(claim, ClaimResult) else {}
        return Completed(
            position=part.position,
            subject=subject,
            sha256=network.sha256,
            cells=tuple(replace(cell, job=self._filled(cell.job)) for cell in part.cells),
            failures=failures,
            findings=findings,
        )

    def _append(self, rows: Sequence[Row]) -> None:
        self._store.append(rows)
        self.rows.update({row.fingerprint: row for row in rows})
