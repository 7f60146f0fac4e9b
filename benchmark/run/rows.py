"""The rows of a cell, as they are written: of scores, or of what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

from msgspec.structs import replace

from attrobust.benchmark import statistics
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.executors.jobs import CellJob
from attrobust.benchmark.run.cells import rows_of
from attrobust.benchmark.run.flags import audited
from attrobust.benchmark.run.subjects import training_of
from attrobust.benchmark.run.wording import wording
from attrobust.benchmark.store.rows import FailedRow, MetricFacts, PassCounts, Provenance, Row, ScoredRow
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.training.job import TrainingJob
from attrobust.types import Flag, Settings


def failed_rows(job: CellJob, reason: str, provenance: Provenance) -> list[Row]:
    """One row for each metric of a cell that has no scores.

    Args:
        job: of the cell.
        reason: in one line.
        provenance: of the process that should have computed it.
    """
    shared = _shared(job, provenance)
    return [FailedRow(**{**row, "error": reason}) for row in shared]


def scored_rows(
    job: CellJob,
    scores: Scores,
    *,
    seconds: float,
    provenance: Provenance,
    flags: tuple[Flag, ...] | None,
    store: Store,
) -> list[Row]:
    """One row for each metric of a cell, failed for one that raised; what they are means of is written into the store.

    Args:
        job: of the cell.
        scores: of every image and metric.
        seconds: that they took.
        provenance: of what computed them.
        flags: that the audit of network and explainer raised; None where they were not audited.
        store: of the run.
    """
    rows: list[Row] = []
    feasible = scores.feasible.numpy()
    wanted = list(_shared(job, provenance))
    sound = [index for index in range(len(wanted)) if index not in scores.failures]
    found = statistics.estimates(
        [scores.values[index].numpy() for index in sound], [wanted[index]["metric"].unit for index in sound]
    )
    estimates = dict(zip(sound, found, strict=True))
    for index, shared in enumerate(wanted):
        if index in scores.failures:
            rows.append(FailedRow(**{**shared, "error": scores.failures[index].error}))
            continue
        key, estimate = shared["fingerprint"], estimates[index]
        values, worst = scores.values[index].numpy(), scores.worst[index].numpy()
        row = ScoredRow(
            **shared,
            mean=_number(estimate.mean),
            ci=(_number(estimate.low), _number(estimate.high)),
            n=estimate.n,
            n_defined=estimate.defined,
            n_feasible=int(feasible.sum()),
            passes=PassCounts(**asdict(scores.passes)),
            seconds=seconds,
            scores_sha256=store.save_scores(key, values, feasible, worst, scores.members),
            repeats=tuple(map(_number, scores.repeats[index])) if scores.repeats else None,
            members=statistics.shares(worst, scores.members) or None,
            guessing=job.guessing,
        )
        rows.append(row if flags is None else audited(row, flags))
    return rows


def is_of(said: MetricFacts, facts: MetricFacts) -> bool:
    """Whether a row says of its metric what is true of it; it may have been typed in another way."""
    return replace(said, label=facts.label) == facts


def with_facts(row: ScoredRow, facts: MetricFacts, store: Store) -> ScoredRow:
    """A row with other facts of its metric, whose label it keeps, and with the interval that these give its scores."""
    (estimate,) = statistics.estimates([store.load_scores(row)[0]], [facts.unit])
    return replace(
        row,
        metric=replace(facts, label=row.metric.label),
        mean=_number(estimate.mean),
        ci=(_number(estimate.low), _number(estimate.high)),
    )


def _shared(job: CellJob, provenance: Provenance) -> Iterator[Settings]:
    """What every row of a cell says, whatever came of it, for each of its rows."""
    source = job.network.source
    trained = training_of(source) if isinstance(source, TrainingJob) and not job.network.unavailable else None
    follows = job.attack.item.follows_gradient if job.attack else None
    said = [job.wording | {"metric": wording(metric)} for metric in job.metrics] or [job.wording]
    for (key, facts), words in zip(rows_of(job), said, strict=True):
        yield {
            "schema": SCHEMA,
            "fingerprint": key,
            "cell": job.cell,
            "split": job.split,
            "metric": facts,
            "error": "",
            "provenance": provenance,
            "trained": trained,
            "wording": words,
            "follows_gradient": follows,
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
