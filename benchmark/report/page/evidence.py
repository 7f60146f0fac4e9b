"""What lies behind a number of a page: the distribution over images, the worst of them, the row and who computed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Floats, Integers
from attrobust.benchmark.report.page.networks import said
from attrobust.benchmark.report.records import Network
from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.store.rows import Row, ScoredRow
from attrobust.types import percent

BINS = 20
WORST = 5
Json = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is on disk behind one number.

    Attributes:
        row: that stands there.
        scores: of the images of the table's subset; None where the cell failed.
        images: positions of these images in the run's list, from 0.
    """

    row: Row
    scores: Floats | None
    images: Integers


def evidence_of(networks: Sequence[Network], place: tuple[str, str], metric: Metric, kept: Integers) -> list[Evidence]:
    """The evidence of a column, one for each network.

    Args:
        networks: the rows of the table.
        place: explainer and attack; empty where there is none.
        metric: of the column.
        kept: positions of the images that are in the subset; all images where empty.
    """
    found = []
    for network in networks:
        row, scores = network.row(*place, metric.label), network.scores(*place, metric.label)
        images = np.arange(0 if scores is None else len(scores)) if not len(kept) else kept
        found.append(Evidence(row=row, scores=None if scores is None else scores[images], images=images))
    return found


def range_of(column: Sequence[Evidence], metric: Metric) -> tuple[float, float]:
    """Smallest and largest value that the histograms of a column show, the same for all rows; no score is outside."""
    finite = [item.scores[np.isfinite(item.scores)] for item in column if item.scores is not None]
    values = np.concatenate(finite) if finite else np.zeros(0)
    ends = [0.0, 1.0] if metric.unit else []
    ends += [float(values.min()), float(values.max())] if len(values) else []
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def row_facts(row: Row) -> Json:
    """Fingerprint, date, cost and, of an attack with several members, how often each was the worst."""
    found: Json = {"row": row.fingerprint, "computed": row.provenance.utc}
    if not isinstance(row, ScoredRow):
        return found | {"error": row.error}
    passes = row.passes
    found |= {"passes": [passes.forward, passes.backward, passes.double_backward], "seconds": round(row.seconds, 2)}
    if row.members:
        found["members"] = [[name, percent(share)] for name, share in row.members.items()]
    return found


def provenance(row: Row) -> str:
    """Versions, machine and checkout behind a row, as text."""
    facts = row.provenance
    checkout = f"commit {facts.commit}{' with changes' if facts.dirty else ''}" if facts.commit else ""
    how = {"device": facts.device, "threads": facts.threads, "batch size": facts.batch_size}
    parts = [said(facts.versions), checkout, facts.machine, said(how)]
    return "; ".join(part for part in parts if part)


def distribution(item: Evidence, metric: Metric, shown: tuple[float, float]) -> Json:
    """Histogram over a range, and the worst images with their scores; empty where there are no scores.

    Accuracy has none: its scores are rights and wrongs.
    """
    finite = np.flatnonzero(np.isfinite(item.scores)) if item.scores is not None else np.zeros(0, dtype=np.intp)
    if item.scores is None or not len(finite) or metric.scope == "accuracy":
        return {}
    values = item.scores[finite]
    low, high = shown
    # Where rounding leaves no room for bins between two ends, as where a column has one value, one bin holds all.
    narrow = high - low <= BINS * np.spacing(max(abs(low), abs(high)))
    counts, _ = np.histogram(values, bins=BINS, range=(low, low + 1.0) if narrow else (low, high))
    order = np.argsort(values if metric.higher_is_better else -values, kind="stable")[:WORST]
    worst = [[int(item.images[finite[index]]), metric.text(float(values[index]))] for index in order]
    return {"histogram": counts.tolist(), "worst": worst}
