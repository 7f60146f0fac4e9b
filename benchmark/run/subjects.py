"""The rows of a table: which networks, whose explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attrobust import explainers
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.executors.jobs import Source
from attrobust.benchmark.executors.networks import job_of
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.store.plan import BASELINES
from attrobust.benchmark.store.provenance import plugin_digest
from attrobust.benchmark.store.rows import Training
from attrobust.benchmark.training.job import TrainingJob
from attrobust.explainers.base import Explainer
from attrobust.naming.component import Component, resolve_one
from attrobust.naming.spec import fingerprint
from attrobust.types import ImageFacts, Named, NetworkFacts


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row of the table.

    Attributes:
        label: as the table prints it.
        seed: of training; None for a user's checkpoint.
        source: how its network is made.
        explainer: of a sanity-check baseline, what stands for every column's explainer; None where nothing does.
        baseline: whether it is a row that no table should be led by: it is neither ranked nor flagged.
        candidate_of: the sweep it is to be chosen from, as typed; until then it is measured on the validation split.
        unchosen: why no member of a sweep could be chosen; the row then stands for the sweep and has no network.
    """

    label: str
    seed: int | None
    source: Source
    explainer: Component[Explainer] | None = None
    baseline: bool = False
    candidate_of: str = ""
    unchosen: str = ""

    @property
    def source_model_seed(self) -> int:
        """Of the training of the networks that attacks on this one need."""
        return self.seed or 0

    @property
    def trained(self) -> Training | None:
        """How its weights were trained; None where nothing was trained here."""
        return training_of(self.source) if isinstance(self.source, TrainingJob) and not self.unchosen else None

    @property
    def checkpoint(self) -> str:
        """Where a user's weights are from; empty for others."""
        return self.source.source.origin if isinstance(self.source, ExternalCheckpoint) else ""

    @property
    def training(self) -> str:
        """Fingerprint of all that decides its weights beside the seed; empty where nothing was trained here."""
        source = self.source
        return fingerprint([source.facts, source.plugins]) if isinstance(source, TrainingJob) else ""

    def facts(self, images: ImageFacts) -> NetworkFacts:
        """What the network is, apart from its weights; of images that it takes."""
        model = self.source.model
        method: Named | None = None
        plugins: tuple[str, ...] = (plugin_digest(type(model.item)),)
        if isinstance(self.source, TrainingJob):
            trained = self.source.method
            plugins = (plugin_digest(type(trained.item)), *plugins)
            method = Named(name=trained.name, settings={"sweep": self.label}) if self.unchosen else trained.canonical
        return NetworkFacts(method=method, model=model.canonical, plugins=plugins, images=images)


def training_of(job: TrainingJob) -> Training:
    """What rows and plans say of a training."""
    facts = job.facts
    return Training(seed=job.seed, plugins=job.plugins, **{key: facts[key] for key in ("recipe", "start", "dataset")})


def subjects_of(request: Request, data: Loaded) -> list[Subject]:
    """The rows of the table in the order asked for: every method with every seed, then the user's checkpoints."""
    found = []
    candidates = {str(spec): sweep.text for sweep in request.sweeps for spec in sweep.specs}
    for method in request.methods:
        for seed in request.protocol.seeds:
            job = job_of(request, data, method, seed)
            of = candidates.get(method.label, "") if request.criterion else ""
            found.append(Subject(label=method.label, seed=seed, source=job, candidate_of=of))
    return found + [Subject(label=item.name, seed=None, source=item) for item in request.checkpoints]


def baselines_of(request: Request, subjects: Sequence[Subject]) -> list[Subject]:
    """The rows of the sanity-check baselines: maps that say nothing about the first network, and an untrained network.

    Args:
        request: of the run.
        subjects: the other rows; one that is still to be chosen from a sweep is no network yet.
    """
    first = next((subject for subject in subjects if not subject.candidate_of and not subject.unchosen), None)
    found = []
    for name in request.protocol.baselines:
        if not BASELINES[name]:
            source = Untrained(model=request.model, seed=request.protocol.seeds[0])
            found.append(Subject(label=name, seed=None, source=source, baseline=True))
        elif first is not None:
            stand_in = resolve_one(explainers.registry, BASELINES[name], Explainer)
            found.append(replace(first, label=f"{name} of {first.label}", explainer=stand_in, baseline=True))
    return found
