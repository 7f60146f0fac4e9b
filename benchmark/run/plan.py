"""The plan of a run: every job there is, each with its key and what it needs first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.executors.base import Job
from attrobust.benchmark.executors.jobs import CellJob, ClaimJob, NetworkJob, Source
from attrobust.benchmark.executors.networks import Networks, job_of
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.cells import PlacedCell, cells_of
from attrobust.benchmark.run.flags import audit_of
from attrobust.benchmark.run.grid import Grid
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.provenance import plugin_digest
from attrobust.benchmark.training.job import TrainingJob
from attrobust.naming.spec import fingerprint


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one row of the table needs.

    Attributes:
        position: in the plan, from 0.
        subject: the row.
        network: its.
        source_models: by name, the networks that attacks on it use.
        cells: in the order of the table.
        jobs: all of this, each after those it needs. Other parts may have some of them too.
    """

    position: int
    subject: Subject
    network: NetworkJob
    source_models: Mapping[str, NetworkJob]
    cells: tuple[PlacedCell, ...]
    jobs: tuple[Job, ...]

    @property
    def claim(self) -> ClaimJob | None:
        """The job that examines the network, where it is a user's."""
        return next((job for job in self.jobs if isinstance(job, ClaimJob)), None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done for some rows of the table."""

    parts: tuple[Part, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job once, each after those it needs."""
        return tuple(_once(job for part in self.parts for job in part.jobs).values())


class Planner:
    """Makes plans for the rows of one run.

    Args:
        request, data: of the run.
        table: what rows of the table are measured on.
        choosing: what candidates are measured on, where there are any.
        networks: that are there already, which decides what has to be trained before others.
        external_sha256: by name, of the weights of every user's checkpoint.
        seeds: of the training of all source models that the run may need.

    Attributes:
        size_of: how many images of a cell are attacked together; as many as the run takes at most until it is set.
    """

    def __init__(
        self,
        request: Request,
        data: Loaded,
        *,
        table: Grid,
        choosing: Grid | None,
        networks: Networks,
        external_sha256: Mapping[str, str],
        seeds: Iterable[int],
    ) -> None:
        self._request, self._data = request, data
        self.size_of: Callable[[CellJob], int] = lambda _: request.most_together
        self._table, self._choosing = table, choosing
        self._networks, self._external_sha256 = networks, external_sha256
        self._known: dict[str, list[NetworkJob]] = {}
        self._lent = {self._key(self.source_model(name, seed)) for name in request.source_models for seed in seeds}

    def plan(self, subjects: Sequence[Subject]) -> Plan:
        """The plan for some rows or candidates, in their order."""
        return Plan(parts=tuple(self._part(position, subject) for position, subject in enumerate(subjects)))

    def source_model(self, name: str, seed: int) -> TrainingJob:
        """The network that attacks call ``name``, of the run's model, dataset and recipe."""
        return job_of(self._request, self._data, self._request.source_models[name], seed)

    def _part(self, position: int, subject: Subject) -> Part:
        grid = self._choosing if subject.candidate_of and self._choosing else self._table
        source_models: dict[str, NetworkJob] = {}
        networks = [self._none(subject)] if subject.unchosen else self._with_start(subject.source, subject.label)
        jobs: list[Job] = [*networks]
        for name in [] if subject.unchosen else grid.source_models:
            lent = self._with_start(self.source_model(name, subject.source_model_seed), f"source model {name}")
            source_models[name] = lent[-1]
            jobs += lent
        network = networks[-1]
        cells = cells_of(self._request, self._data, grid, subject, network, source_models, self.size_of)
        for cell in cells:
            audit = audit_of(cell.job, [network, *source_models.values()])
            jobs += [*([audit] if audit else []), *cell.parts, cell.job]
            # A baseline of maps has the network, and the accuracy, of another row.
            measured = grid.accuracy and cell is cells[0]
            if measured and isinstance(subject.source, ExternalCheckpoint) and not subject.baseline:
                jobs.append(_claim(subject, subject.source, network, cell.job))
        return Part(
            position=position,
            subject=subject,
            network=network,
            source_models=source_models,
            cells=tuple(cells),
            jobs=tuple(_once(jobs).values()),
        )

    def _with_start(self, source: Source, label: str) -> list[NetworkJob]:
        """The job that obtains a network, after the one that it goes on from where that has to be trained."""
        key = self._key(source)
        if key not in self._known:
            before: list[NetworkJob] = []
            if isinstance(source, TrainingJob) and source.before and self._networks.origin(source)[0] == "to train":
                before = self._with_start(source.before, source.before.method.label)
            needs = tuple(job.key for job in before[-1:])
            job = NetworkJob(key=key, needs=needs, label=label, source=source, lent=key in self._lent, cost=math.inf)
            self._known[key] = [*before, job]
        return self._known[key]

    def _none(self, subject: Subject) -> NetworkJob:
        """The job of a row that nothing could be chosen for: it leads to no network."""
        key = fingerprint(["unchosen", subject.label])
        return NetworkJob(key=key, label=subject.label, source=subject.source, unavailable=subject.unchosen)

    def _key(self, source: Source) -> str:
        if isinstance(source, TrainingJob):
            return source.key
        facts = {"model": source.model.canonical, "plugin": plugin_digest(type(source.model.item))}
        if isinstance(source, Untrained):
            return fingerprint(["untrained", facts, source.seed])
        return fingerprint(["file", facts, source.name, self._external_sha256[source.name]])


def _claim(subject: Subject, checkpoint: ExternalCheckpoint, network: NetworkJob, accuracy: Job) -> ClaimJob:
    return ClaimJob(
        key=fingerprint(["claim", network.key, subject.label]),
        needs=(network.key, accuracy.key),
        label=subject.label,
        group=subject.label,
        network=network,
        checkpoint=checkpoint,
    )


def _once(jobs: Iterable[Job]) -> dict[str, Job]:
    """By key, every job as it comes first."""
    found: dict[str, Job] = {}
    for job in jobs:
        found.setdefault(job.key, job)
    return found
