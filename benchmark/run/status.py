"""How far a run has come: of every row how many cells are done, and what there is left to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, CellJob, NetworkJob, RetrainingJob
from attrobust.benchmark.executors.networks import Networks, Origin
from attrobust.benchmark.run.cells import with_weights
from attrobust.benchmark.run.coverage import Stretch
from attrobust.benchmark.run.driver import Driver
from attrobust.benchmark.run.plan import Part, Plan
from attrobust.benchmark.run.subjects import Subject

TRAINING = 400
"""Images whose attack takes about as long as a training, to decide whether processes pay."""
ONLY_SCORED = 4
"""Images that are scored in the time in which one is attacked."""
FLOAT_BYTES = 4 * 0.8
"""On disk of a number of an attacked image, at most.

Measured for digits, CIFAR-10 and 224×224 pixels with eps of 2 and 16/255: uniform noise takes .64 to .79 of four bytes,
images whose pixels are all moved by eps .3 to .5.
"""
FILE_BYTES, RESULT_BYTES = 2_000, 8
"""On disk beside the images: of a file, and of every result."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What there is to do.

    Attributes:
        networks: to be trained.
        audits: to be made.
        retrainings: trainings of retraining metrics.
        accuracies: clean ones, each of all images of a split.
        batches: to be computed, each with what is left of it.
        rows: to be written.
    """

    networks: tuple[NetworkJob, ...]
    audits: tuple[AuditJob, ...]
    retrainings: tuple[RetrainingJob, ...]
    accuracies: tuple[CellJob, ...]
    batches: tuple[tuple[BatchJob, tuple[Stretch, ...]], ...]
    rows: int

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        parts = (self.networks, self.audits, self.retrainings, self.accuracies, self.batches)
        return sum(len(part) for part in parts)

    @property
    def work(self) -> int:
        """How much there is to do, in images attacked."""
        attacked = sum(new_images(batch, stretches) for batch, stretches in self.batches)
        images = sum(len(item.rows) for _, stretches in self.batches for item in stretches)
        trainings = len(self.networks) + len(self.retrainings)
        return attacked + (images - attacked) // ONLY_SCORED + TRAINING * trainings

    @property
    def images(self) -> int:
        """How many images there are to be done in batches, as progress bars count them."""
        return sum(batch.images for batch, _ in self.batches)

    def kept_bytes(self, pixels: int) -> float:
        """Bytes that attacked images may take on disk, of so many numbers each."""
        found = 0.0
        for batch, stretches in self.batches:
            if batch.whole.attack and batch.keeps:
                results = new_images(batch, stretches) * batch.whole.attack.item.most_results
                files = sum(item.kept is None for item in stretches)
                found += results * (pixels * FLOAT_BYTES + RESULT_BYTES) + files * FILE_BYTES
        return found


@dataclass(frozen=True, kw_only=True)
class RowStatus:
    """A row of the table, or a candidate.

    Attributes:
        subject: which.
        origin: where its weights come from.
        done, cells: how many of its cells are done, of how many.
    """

    subject: Subject
    origin: Origin
    done: int
    cells: int


def new_images(batch: BatchJob, stretches: Sequence[Stretch]) -> int:
    """How many images of a batch are to be attacked."""
    return sum(len(item.rows) for item in stretches if batch.whole.attack and item.kept is None)


def status_of(
    plan: Plan, driver: Driver, networks: Networks, weights: Callable[[Subject], tuple[Origin, str]]
) -> tuple[list[RowStatus], Left]:
    """Where a plan stands.

    Args:
        plan: of all rows.
        driver: that knows the rows on disk.
        networks: on disk.
        weights: tells where the weights of a row come from, and their sha256 where it is known.
    """
    rows: list[RowStatus] = []
    to_train: dict[str, NetworkJob] = {}
    audits: dict[str, AuditJob] = {}
    # By key, since a sanity-check baseline shares cells, such as the accuracy, with the network that it is made of.
    retrainings: dict[str, RetrainingJob] = {}
    accuracies: dict[str, CellJob] = {}
    batches: dict[str, tuple[BatchJob, tuple[Stretch, ...]]] = {}
    to_write = 0
    for part in plan.parts:
        origin, sha256 = weights(part.subject)
        cells = _filled(part, sha256, networks)
        lacking = [len(driver.lacking(cell)) if sha256 else max(1, len(cell.metrics)) for cell in cells]
        rows.append(RowStatus(subject=part.subject, origin=origin, done=lacking.count(0), cells=len(cells)))
        to_write += sum(lacking)
        needed = _to_audit(cells, lacking, driver)
        for job in part.jobs:
            if isinstance(job, NetworkJob) and not job.unavailable and networks.origin(job.source)[0] == "to train":
                to_train[job.key] = job
            elif isinstance(job, AuditJob) and job.key in needed:
                audits[job.key] = job
        for placed, cell, wanted in zip(part.cells, cells, lacking, strict=True):
            if wanted and not placed.parts:
                accuracies.setdefault(cell.key, cell)
            for job in placed.parts if wanted else ():
                if isinstance(job, RetrainingJob):
                    retrainings.setdefault(job.key, job)
                elif left := tuple(driver.stretches(job, cell)):
                    batches.setdefault(job.key, (job, left))
    left_over = Left(
        networks=tuple(to_train.values()),
        audits=tuple(audits.values()),
        retrainings=tuple(retrainings.values()),
        accuracies=tuple(accuracies.values()),
        batches=tuple(batches.values()),
        rows=to_write,
    )
    return rows, left_over


def _to_audit(cells: Sequence[CellJob], lacking: Sequence[int], driver: Driver) -> set[str]:
    """Keys of the audits that have to be made for the cells of a row that are not done."""
    needed = {cell.audit for cell, wanted in zip(cells, lacking, strict=True) if wanted and cell.audit}
    return {key for key in needed if not driver.is_audited([cell for cell in cells if cell.audit == key])}


def _filled(part: Part, sha256: str, networks: Networks) -> list[CellJob]:
    """The cells of a row with the hashes of weights that are known."""
    lent = {job.key: networks.origin(job.source)[1] for job in part.source_models.values()}
    known = {key: item.card.sha256 for key, item in lent.items() if item}
    return [
        with_weights(cell.job, sha256, known.get(cell.job.source_model.key, "") if cell.job.source_model else "")
        for cell in part.cells
    ]
