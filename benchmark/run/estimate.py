"""What a run would take: jobs, passes, time and disk, of what is not done yet."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn
from tqdm import tqdm

from attrobust.benchmark.audit.case import IMAGES
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.executors.jobs import CellJob
from attrobust.benchmark.executors.networks import retraining_job
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.calibration import Calibration, PerImage, Prices
from attrobust.benchmark.run.status import Left, new_images
from attrobust.benchmark.training.job import TrainingJob
from attrobust.naming.spec import fingerprint

LOG = logging.getLogger("attrobust")
PATIENCE = 30.0
"""Seconds after which no further kind of job is tried out."""
RUN_BYTES, ROW_BYTES, SCORE_BYTES, AUDIT_BYTES = 10_000, 5_000, 20, 2_000
"""On disk of a run of no rows, of a row in all files, of a score with the member that it comes from, and of an audit.

Measured 9,000 and 4,800, with tables in all formats; 230 of an audit, and as much for each flag.
"""
Found = TypeVar("Found")


@dataclass
class Estimate:
    """What is left to do, and what that takes.

    Attributes:
        forward, backward, double_backward: passes of images, training apart.
        starting: seconds until processes compute that are started for it, and until a training can begin in one.
        training, computing: seconds of trainings, and of all else, in one process.
        kept, scores: bytes on disk, of attacked images and of all else but weights, at most.
        unknown: what could not be tried out, in words; it is in none of the numbers.
    """

    forward: float = 0.0
    backward: float = 0.0
    double_backward: float = 0.0
    starting: float = 0.0
    training: float = 0.0
    computing: float = 0.0
    kept: float = 0.0
    scores: float = 0.0
    unknown: tuple[str, ...] = ()

    def add(self, cost: PerImage, images: int, prices: Prices) -> None:
        """Take in what some images cost."""
        self.forward += cost.forward * images
        self.backward += cost.backward * images
        self.double_backward += cost.double_backward * images
        self.computing += prices.of(cost) * images


def estimate(
    request: Request, data: Loaded, left: Left, network: nn.Module, start: Callable[[], float] | None = None
) -> Estimate:
    """What is left of a run takes, on this machine; some seconds are spent to find out.

    Args:
        request, data: of the run.
        left: what there is to do.
        network: that is typical of the run.
        start: seconds that it takes to start the processes of the run; None where it stays in its own.
    """
    found = Estimate(starting=start() if start else 0.0)
    calibration, trials = Calibration(request, data), _Trials()
    found.scores = RUN_BYTES + left.rows * ROW_BYTES + len(left.audits) * AUDIT_BYTES
    found.kept = left.kept_bytes(data.channels * data.size**2)
    prices = calibration.prices(network, min(request.batch_size, request.protocol.images))
    trainings = [(job.source, job.label) for job in left.networks]
    trainings += [
        (retraining_job(request, data, job.whole.network.source.model), job.label) for job in left.retrainings
    ]
    if trainings:
        found.starting += calibration.first_optimiser()
    with tqdm(total=left.jobs, desc="estimating", unit="job", leave=False, disable=None) as bar:
        for source, label in trainings:
            if isinstance(source, TrainingJob):
                kind = fingerprint([source.facts, source.plugins])
                seconds = trials.of(kind, f"training of {label}", functools.partial(calibration.epoch, source))
                found.training += (seconds or 0.0) * source.epochs
            bar.update()
        for audit in left.audits:
            words, count = f"audits of {audit.explainer.label}", functools.partial(calibration.of_audit, audit)
            if cost := trials.of(fingerprint(["audit", audit.cell.explainer]), words, count):
                found.add(cost, min(IMAGES, audit.cell.images), prices)
            bar.update()
        for whole in left.accuracies:
            images = len(data.splits[whole.split])
            found.add(PerImage(forward=1, backward=0, double_backward=0), images, prices)
            found.scores += images * SCORE_BYTES
            bar.update()
        for batch, stretches in left.batches:
            cell = batch.whole
            count = functools.partial(calibration.of_cell, cell)
            fresh, rows = new_images(batch, stretches), sum(len(item.rows) for item in stretches)
            if cost := trials.of(_kind(cell), cell.label.partition(" / ")[2], count):
                found.add(cost, fresh if cell.attack else rows, prices)
            found.scores += sum(len(item.rows) * len(item.lacking) for item in stretches) * SCORE_BYTES
            bar.update()
    found.unknown = trials.unknown
    return found


def _kind(cell: CellJob) -> str:
    """Of cells that take equally many passes."""
    metrics = [metric.canonical for metric in cell.metrics]
    return fingerprint([cell.cell.explainer, cell.cell.attack, cell.cell.threat, metrics])


class _Trials:
    """Tries out every kind of job once, as long as there is time.

    Attributes:
        unknown: what was not tried out, or failed.
    """

    def __init__(self) -> None:
        self.unknown: tuple[str, ...] = ()
        self._started = time.monotonic()
        self._known: dict[str, Any] = {}

    def of(self, kind: str, words: str, trial: Callable[[], Found]) -> Found | None:
        """What a trial found, this one or an earlier one of its kind; None where there is none."""
        if kind not in self._known:
            self._known[kind] = None
            if time.monotonic() - self._started < PATIENCE:
                try:
                    self._known[kind] = trial()
                except Exception as error:  # whatever a plug-in raises
                    LOG.debug("%s: %s: %s", words, type(error).__name__, error)
            if self._known[kind] is None:
                self.unknown = (*self.unknown, words)
        found: Found | None = self._known[kind]
        return found
