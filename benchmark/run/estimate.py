"""What a run would take: jobs, passes, time, memory and disk, of what is not done yet."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn
from tqdm import tqdm

from attrobust.benchmark.audit.case import IMAGES
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.executors.jobs import CellJob
from attrobust.benchmark.executors.networks import retraining_job
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.calibration import Calibration
from attrobust.benchmark.run.costs import passes
from attrobust.benchmark.run.prices import PerImage, Prices
from attrobust.benchmark.run.status import Left, new_images
from attrobust.benchmark.run.together import Together
from attrobust.benchmark.training.job import TrainingJob
from attrobust.explainers.base import Explainer
from attrobust.naming.spec import fingerprint

LOG = logging.getLogger("attrobust")
PATIENCE = 30.0
"""Seconds of this thread after which no further kind of job is tried out."""
RUN_BYTES, ROW_BYTES, SCORE_BYTES, AUDIT_BYTES = 10_000, 5_000, 20, 2_000
"""On disk of a run of no rows, of a row in all files, of a score with the member that it comes from, and of an audit.

Measured 9,000 and 4,800, with tables in all formats; 230 of an audit, and as much for each flag.
"""
Found = TypeVar("Found")


@dataclass
class CellCost:
    """What is left of a network's images with an explainer and an attack.

    Attributes:
        network, explainer, attack: as the table calls them; what is measured where there is no attack.
        images: that are left.
        each: passes of an image, apart from those that are made once for a batch.
        passes: of all images.
        seconds: in one process.
        memory: bytes that a process has at the peak; 0 where that is not known.
    """

    network: str
    explainer: str
    attack: str
    images: int = 0
    each: float = 0.0
    passes: float = 0.0
    seconds: float = 0.0
    memory: int = 0


@dataclass
class Estimate:
    """What is left to do, and what that takes.

    Attributes:
        forward, backward, double_backward: passes of images, training apart.
        starting: seconds until processes compute that are started for it, and until a training can begin in one.
        training, computing: seconds of trainings, and of all else, in one process.
        kept, scores: bytes on disk, of attacked images and of all else but weights, at most.
        cells: what computing is made of, by network, explainer and attack.
        maps: by label of an explainer, passes of one map.
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
    cells: dict[tuple[str, str, str], CellCost] = field(default_factory=dict)
    maps: dict[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def dearest(self) -> list[CellCost]:
        """The cells, those that take longest first."""
        return sorted(self.cells.values(), key=lambda cell: cell.seconds, reverse=True)

    def add(self, names: tuple[str, str, str], cost: PerImage, images: int, prices: Prices, memory: int = 0) -> None:
        """Take in what a batch costs.

        Args:
            names: of network, explainer and attack.
            cost: of one image, and of a batch.
            images: of the batch.
            prices: of the network's passes.
            memory: bytes that a process has at the peak.
        """
        seconds = prices.of(cost, images)
        self.forward += cost.forward * images + cost.once
        self.backward += cost.backward * images
        self.double_backward += cost.double_backward * images
        self.computing += seconds
        cell = self.cells.setdefault(names, CellCost(*names))
        cell.images += images
        cell.each = cost.passes
        cell.passes += cost.passes * images + cost.once
        cell.seconds += seconds
        cell.memory = max(cell.memory, memory)


class Estimator:
    """Finds out what is left of a run takes, on this machine; some seconds are spent for it.

    Args:
        request, data: of the run.
        together: what knows its networks and their memory.
    """

    def __init__(self, request: Request, data: Loaded, together: Together) -> None:
        self._request, self._data, self._together = request, data, together
        self._calibration, self._trials = Calibration(request, data), _Trials()
        self._prices: dict[str, Prices] = {}

    def estimate(self, left: Left, start: Callable[[], float] | None = None) -> Estimate:
        """What there is to do takes.

        Args:
            left: what there is to do.
            start: seconds that it takes to start the processes of the run; None where it stays in its own.
        """
        data, trials = self._data, self._trials
        found = Estimate(starting=start() if start else 0.0)
        found.scores = RUN_BYTES + left.rows * ROW_BYTES + len(left.audits) * AUDIT_BYTES
        found.kept = left.kept_bytes(data.channels * data.size**2)
        with tqdm(total=left.jobs, desc="estimating", unit="job", leave=False, disable=None) as bar:
            self._add_trainings(found, left, bar)
            for audit in left.audits:
                network, label = self._together.network(audit.network.source), audit.explainer.label
                count = functools.partial(self._calibration.of_audit, audit, self._together.saved(network))
                like = fingerprint(["audit", audit.cell.explainer])
                kind = fingerprint([like, self._together.layers(network)])
                if cost := trials.of(kind, f"audits of {label}", count, like=like):
                    images = min(IMAGES, audit.cell.images)
                    found.add((audit.group or audit.network.label, label, "audit"), cost, images, self._priced(network))
                bar.update()
            for whole in left.accuracies:
                images = len(data.splits[whole.split])
                network = self._together.network(whole.network.source)
                once = PerImage(forward=1, backward=0, double_backward=0)
                found.add((whole.group, "", "clean accuracy"), once, images, self._priced(network))
                found.scores += images * SCORE_BYTES
                bar.update()
            for batch, stretches in left.batches:
                cell = batch.whole
                fresh, rows = new_images(batch, stretches), sum(len(item.rows) for item in stretches)
                if cost := self._cost(cell):
                    prices, memory = self._priced(self._together.network(cell.network.source)), self._peak(cell)
                    found.add(_names(cell), cost, fresh if cell.attack else rows, prices, memory)
                found.scores += sum(len(item.rows) * len(item.lacking) for item in stretches) * SCORE_BYTES
                bar.update()
        found.maps = self.maps([batch.whole for batch, _ in left.batches])
        found.unknown = trials.unknown
        return found

    def maps(self, cells: list[CellJob]) -> dict[str, float]:
        """By label of an explainer, how many passes one map takes."""
        found: dict[str, float] = {}
        for cell in cells:
            if cell.explainer and cell.explainer.label not in found:
                saved = self._together.saved(self._together.network(cell.network.source))
                count = functools.partial(self._calibration.of_map, cell.explainer.item, saved)
                if cost := self._trials.of(fingerprint(["map", cell.cell.explainer]), cell.explainer.label, count):
                    found[cell.explainer.label] = cost.passes
        return found

    def map_passes(self, explainer: Explainer) -> float | None:
        """Passes of a map of an explainer; None where it does not work."""
        count = functools.partial(self._calibration.of_map, explainer, 0)
        cost = self._trials.of(fingerprint(["map", repr(explainer)]), repr(explainer), count)
        return cost.passes if cost else None

    def is_long(self, left: Left, limit: float) -> bool:
        """Whether attacks and scores take more than ``limit`` seconds in one process.

        It is found out in milliseconds, from settings, passes of a map and the price of one pass, and right to about a
        factor of three.
        """
        cells = [batch.whole for batch, _ in left.batches]
        if not cells:
            return False
        each = self._calibration.gradient(self._together.network(cells[0].network.source)) / 2
        # No explainer masks more than a window for every second pixel of a row and a column.
        if each * _roughly(left, {}) * max(1, self._data.size**2 // 4) < limit:
            return False
        return each * _roughly(left, self.maps(cells)) >= limit

    def _add_trainings(self, found: Estimate, left: Left, bar: tqdm[Any]) -> None:
        trainings = [(job.source, job.label) for job in left.networks]
        trainings += [
            (retraining_job(self._request, self._data, job.whole.network.source.model), job.label)
            for job in left.retrainings
        ]
        if trainings:
            found.starting += self._calibration.first_optimiser()
        for source, label in trainings:
            if isinstance(source, TrainingJob):
                kind = fingerprint([source.facts, source.plugins])
                epoch = functools.partial(self._calibration.epoch, source)
                found.training += (self._trials.of(kind, f"training of {label}", epoch) or 0.0) * source.epochs
            bar.update()

    def _cost(self, cell: CellJob) -> PerImage | None:
        network = self._together.network(cell.network.source)
        saved, layers = self._together.saved(network), self._together.count_of_layers(network)
        size = self._together.size(cell)
        count = functools.partial(self._calibration.of_cell, cell, size, saved, layers)
        metrics = [metric.canonical for metric in cell.metrics]
        like = [cell.cell.explainer, cell.cell.attack, cell.cell.threat, metrics]
        return self._trials.of(
            fingerprint([*like, size, saved, layers]), cell.label.partition(" / ")[2], count, like=fingerprint(like)
        )

    def _peak(self, cell: CellJob) -> int:
        return self._together.peak(cell)

    def _priced(self, network: nn.Module) -> Prices:
        layers = self._together.layers(network)
        if layers not in self._prices:
            most = min(self._request.most_together, self._request.protocol.images)
            self._prices[layers] = self._calibration.prices(network, most)
        return self._prices[layers]


def _roughly(left: Left, maps: Mapping[str, float]) -> float:
    """About how many passes there are left, with those of a map by label of the explainer where they are known."""
    total = 0.0
    for batch, _ in left.batches:
        cell = batch.whole
        of_map = maps.get(cell.explainer.label) if cell.explainer else None
        total += passes(cell, training=0, maps=of_map) * batch.images / cell.cell.images
    return total


def _names(cell: CellJob) -> tuple[str, str, str]:
    """Of network, explainer, and attack or what is measured without one."""
    attack = cell.attack.label if cell.attack else f"{cell.scope} metrics"
    return cell.group, cell.explainer.label if cell.explainer else "", attack


class _Trials:
    """Tries out every kind of job once, as long as there is time.

    Attributes:
        unknown: what was not tried out, or failed.
    """

    def __init__(self) -> None:
        self.unknown: tuple[str, ...] = ()
        self._started = time.thread_time()
        self._known: dict[str, Any] = {}
        self._alike: dict[str, Any] = {}

    def of(self, kind: str, words: str, trial: Callable[[], Found], like: str = "") -> Found | None:
        """What a trial found, this one or an earlier one of its kind; None where there is none.

        Args:
            kind: of jobs that take the same.
            words: what is said of a job that was not tried out.
            trial: tries it out.
            like: of jobs that take nearly the same, of which one stands for the others when there is no time left;
                empty where none does.
        """
        if kind not in self._known:
            self._known[kind] = None
            if time.thread_time() - self._started < PATIENCE:
                try:
                    self._known[kind] = trial()
                except Exception as error:  # whatever a plug-in raises
                    LOG.debug("%s: %s: %s", words, type(error).__name__, error)
                if self._known[kind] is not None:
                    self._alike.setdefault(like, self._known[kind])
            elif like:
                self._known[kind] = self._alike.get(like)
            if self._known[kind] is None:
                self.unknown = (*self.unknown, words)
        found: Found | None = self._known[kind]
        return found
