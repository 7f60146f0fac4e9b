"""The parts that a cell is computed in: one job for every batch of its images."""

from __future__ import annotations

from dataclasses import replace

from attrobust.benchmark.executors.jobs import BatchJob, CellJob
from attrobust.benchmark.run.coverage import batches


def in_batches(job: CellJob, size: int, *, keeps: bool) -> tuple[CellJob, tuple[BatchJob, ...]]:
    """A cell that is complete when its batches are, and these; a cell that is computed as a whole stays as it is.

    Clean accuracy takes one pass of a split, and a retraining metric needs the maps of all images at once.

    Args:
        job: of the cell.
        size: images of a batch.
        keeps: whether results of attacks are kept.
    """
    if job.scope == "training" or (job.scope == "accuracy" and job.attack is None):
        return job, ()
    networks = tuple(network.key for network in (job.network, job.source_model) if network)
    parts = tuple(
        BatchJob(
            key=f"{job.key}/{rows.start}",
            needs=networks,
            label=job.label,
            group=job.group,
            images=len(rows),
            whole=job,
            rows=rows,
            keeps=keeps,
        )
        for rows in batches(job.cell.images, size)
    )
    keys = tuple(part.key for part in parts)
    return replace(job, needs=(*job.needs, *keys), batches=keys), parts
