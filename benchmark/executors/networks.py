"""Where the networks of a run come from: shipped, trained by this run or an earlier one, or a user's own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import nn

from attrobust import methods
from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.find import Checkpoint, find_shipped, find_trained, train_into
from attrobust.benchmark.checkpoints.source import WeightFile
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.executors.jobs import Source
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.training.job import TrainingJob
from attrobust.methods.base import Method
from attrobust.naming.component import Component, resolve_one

LOG = logging.getLogger("attrobust")

Origin = Literal["shipped", "download", "trained", "to train", "file", "untrained"]


class Networks:
    """The networks of one run, on disk.

    Args:
        request, data: of the run.
        folder: of the checkpoints that the run trains.
        copies: of users' weight files that are out of reach, by the paths that checkpoints have for them.
    """

    def __init__(self, request: Request, data: Loaded, folder: Path, copies: Mapping[Path, Path] | None = None) -> None:
        self._request, self._data, self._folder = request, data, folder
        self._copies = copies or {}

    def origin(self, source: Source) -> tuple[Origin, Checkpoint | None]:
        """Where the weights come from, and what of them is on disk."""
        if isinstance(source, Untrained):
            return "untrained", None
        if isinstance(source, ExternalCheckpoint):
            return "file", None
        if not self._request.retrain and (found := find_shipped(source)):
            return "download" if found.is_missing else "shipped", found
        start = self.origin(source.before)[1] if source.before else None
        if source.before and start is None:
            return "to train", None
        found = find_trained(source, self._folder, start)
        return ("trained", found) if found else ("to train", None)

    def downloads(self, sources: Iterable[Source]) -> list[Checkpoint]:
        """The shipped weights that sources need, or are trained from, and that have to be downloaded."""
        found = {}
        for source in sources:
            origin, checkpoint = self.origin(source)
            if origin == "to train" and isinstance(source, TrainingJob) and source.before:
                origin, checkpoint = self.origin(source.before)
            if origin == "download" and checkpoint:
                found[checkpoint.weights] = checkpoint
        return list(found.values())

    def open(self, source: Source) -> tuple[nn.Module, str]:
        """The network of a source, evaluating, and the sha256 of its weights; trained now where it has none yet.

        Raises:
            TrainingError: it cannot be trained.
            UsageError: a file is not what it was or does not fit.
        """
        facts = image_facts(self._data)
        if isinstance(source, Untrained):
            return source.open(self._data)
        if isinstance(source, ExternalCheckpoint):
            return self.at_hand(source).open(facts)
        checkpoint = self._checkpoint(source)
        return checkpoint.network(source.method.item, source.model.item, facts), checkpoint.card.sha256

    def at_hand(self, checkpoint: ExternalCheckpoint) -> ExternalCheckpoint:
        """A user's checkpoint, read from the copy of its file where there is one."""
        source = checkpoint.source
        if not isinstance(source, WeightFile) or source.path not in self._copies:
            return checkpoint
        return replace(checkpoint, source=replace(source, path=self._copies[source.path]))

    def _checkpoint(self, job: TrainingJob) -> Checkpoint:
        """The weights of a job, trained now where there are none yet, after those that they go on from."""
        _, checkpoint = self.origin(job)
        if checkpoint is not None:
            return checkpoint
        start = self._checkpoint(job.before) if job.before else None
        LOG.info("%s: training for %d epoch%s", job.method.label, job.epochs, "s" if job.epochs > 1 else "")
        return train_into(job, self._data, self._folder, self._request.device, start)


def job_of(request: Request, data: Loaded, method: Component[Method], seed: int) -> TrainingJob:
    """The training of a method with the run's model, dataset and recipe."""
    return TrainingJob.on(
        data,
        method=method,
        model=request.model,
        dataset=request.dataset,
        recipe=request.recipe,
        seed=seed,
        start=request.starts.get(method.item.start),
    )


def retraining_job(request: Request, data: Loaded, model: Component[ModelFamily]) -> TrainingJob:
    """The training, by cross-entropy, of networks of some architecture on images that a study changes."""
    natural = resolve_one(methods.registry, "natural", Method)
    return replace(job_of(request, data, natural, seed=0), model=model)
