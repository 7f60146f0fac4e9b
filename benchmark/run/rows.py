"""The rows of a cell, as they are written: of scores, or of what went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from attrobust.benchmark import statistics
from attrobust.benchmark.evaluation.scores import Scores
from attrobust.benchmark.executors.jobs import CellJob, CellResult
from attrobust.benchmark.run.cells import rows_of
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import Row, Store


def failed_rows(job: CellJob, reason: str, provenance: Mapping[str, Any]) -> list[Row]:
    """One row for each metric of a cell that has no scores.

    Args:
        job: of the cell.
        reason: in one line.
        provenance: of the process that should have computed it.
    """
    return [_row(job, key, facts, provenance, "failed", reason) for key, facts in rows_of(job)]


def scored_rows(job: CellJob, scores: Scores, result: CellResult, flags: dict[str, Any], store: Store) -> list[Row]:
    """One row for each metric of a cell; what they are means of is written into the store.

    Args:
        job: of the cell.
        scores: of every image and metric.
        result: with what computed them, and how long that took.
        flags: what rows say of their audit; nothing where they were not audited.
        store: of the run.
    """
    rows: list[Row] = []
    legal = scores.legal.numpy()
    for (key, facts), tensor, members in zip(rows_of(job), scores.values, scores.worst, strict=True):
        values, worst = tensor.numpy(), members.numpy()
        estimate = statistics.estimate(values, unit=facts["unit"])
        row = _row(job, key, facts, result.provenance, "ok", "")
        row |= {"mean": _number(estimate.mean), "ci": [_number(estimate.low), _number(estimate.high)]}
        row |= {"n": estimate.n, "n_defined": estimate.defined, "n_legal": int(legal.sum())}
        row |= {"passes": asdict(scores.passes), "seconds": result.seconds}
        if scores.repeats:
            row["repeats"] = [_number(value) for value in scores.repeats[len(rows)]]
        if parts := statistics.shares(worst, scores.members):
            row["members"] = parts
        row["scores_sha256"] = store.save_scores(key, values, legal, worst, scores.members)
        rows.append(row | flags)
    return rows


def _row(job: CellJob, key: str, facts: dict[str, Any], provenance: Mapping[str, Any], status: str, error: str) -> Row:
    return {
        "schema": SCHEMA,
        "fingerprint": key,
        "cell": asdict(job.cell),
        "split": job.split,
        "metric": facts,
        "status": status,
        "error": error,
        "provenance": dict(provenance),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
