"""Roughly what cells cost, from their settings alone: to share them out, and to begin with the longest."""

from __future__ import annotations

import math

from attrobust.benchmark.executors.jobs import CellJob
from attrobust.metrics.shared.retraining import RetrainingMetric
from attrobust.types import Cost

PASSES = 4
"""Of a step of an attack, and of scoring an image."""
REPEATED = ("steps", "samples", "restarts", "draws", "queries")
"""Settings of attacks and explainers that say how often something is done."""


def passes(job: CellJob, training: int, maps: float | None = None) -> int:
    """Roughly what a cell costs, in passes of one image.

    Args:
        job: the cell.
        training: passes of one training of a retraining metric.
        maps: of one map, where they were counted; None to take them from the explainer's settings.
    """
    if job.scope == "training":
        return training * sum(
            metric.item.trainings for metric in job.metrics if isinstance(metric.item, RetrainingMetric)
        )
    if maps is None:
        maps = _rounds(job.explainer.item) if job.explainer else 1
    rounds = 1 + _rounds(job.attack.item) if job.attack else 1
    return int(job.cell.images * maps * rounds * (PASSES if job.attack or job.metrics else 1))


def _rounds(item: object) -> int:
    """How often an attack asks for maps, or an explainer for gradients."""
    budget = getattr(item, "budget", None)
    if isinstance(budget, Cost):
        return int(budget.forward)
    values = [getattr(item, name, 1) for name in REPEATED]
    return math.prod(value for value in values if isinstance(value, int) and value > 0)
