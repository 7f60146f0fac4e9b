"""The parts that a cell is computed in: one job for every batch of its images, or every network that it trains."""

from __future__ import annotations

from dataclasses import replace

from attrobust.benchmark.executors.jobs import BatchJob, CellJob, RetrainingJob
from attrobust.benchmark.run.costs import passes
from attrobust.benchmark.run.coverage import batches
from attrobust.metrics.shared.retraining import RetrainingMetric

TRAINING = 1e12
"""Cost of a training of a retraining metric: more than any batch, so that it is begun before."""
Pieces = tuple[BatchJob, ...] | tuple[RetrainingJob, ...]


def in_batches(job: CellJob, size: int, *, keeps: bool) -> tuple[CellJob, Pieces]:
    """A cell that comes after its parts, and these; clean accuracy, one pass of a split, has none.

    A retraining metric needs the maps of all images at once; its parts are the networks that it trains.

    Args:
        job: of the cell.
        size: images of a batch.
        keeps: whether results of attacks are kept.
    """
    if job.scope == "accuracy" and job.attack is None:
        return job, ()
    if job.scope == "training":
        trainings = _trainings(job)
        return replace(job, needs=(*job.needs, *(part.key for part in trainings))), trainings
    cost = passes(job, training=0) / job.cell.images
    parts = tuple(
        BatchJob(
            key=f"{job.key}/{rows.start}",
            needs=_networks(job),
            label=job.label,
            group=job.group,
            images=len(rows),
            cost=cost * len(rows),
            whole=job,
            rows=rows,
            together=size,
            keeps=keeps,
        )
        for rows in batches(job.cell.images, size)
    )
    keys = tuple(part.key for part in parts)
    return replace(job, needs=(*job.needs, *keys), batches=keys), parts


def _trainings(job: CellJob) -> tuple[RetrainingJob, ...]:
    count = sum(metric.item.trainings for metric in job.metrics if isinstance(metric.item, RetrainingMetric))
    return tuple(
        RetrainingJob(
            key=f"{job.key}/training {number}",
            needs=_networks(job),
            label=f"{job.label} / training {number + 1} of {count}",
            group=job.group,
            cost=TRAINING,
            whole=job,
            number=number,
        )
        for number in range(count)
    )


def _networks(job: CellJob) -> tuple[str, ...]:
    return tuple(network.key for network in (job.network, job.source_model) if network)
