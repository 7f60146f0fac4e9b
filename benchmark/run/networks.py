"""Where the networks of a run come from: shipped, trained by this run or an earlier one, or a user's own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from attrobust.benchmark.checkpoints.external import ExternalCheckpoint
from attrobust.benchmark.checkpoints.find import Checkpoint, find_shipped, find_trained, train_into
from attrobust.benchmark.checkpoints.untrained import Untrained
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.subjects import job_of
from attrobust.benchmark.training.job import TrainingJob
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")

Origin = Literal["shipped", "trained", "to train", "file", "untrained"]
Source = TrainingJob | ExternalCheckpoint | Untrained


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network, or why there is none.

    Attributes:
        network: evaluating, on the run's device; None where it could not be trained.
        sha256: of its weights; empty where there is none.
        problem: why there is none, in one line.
    """

    network: nn.Module | None
    sha256: str
    problem: str


class Networks:
    """The networks of one run.

    Args:
        request, data: of the run.
        folder: of the checkpoints that the run trains.
    """

    def __init__(self, request: Request, data: Loaded, folder: Path) -> None:
        self._request, self._data, self._folder = request, data, folder
        self._donors: dict[tuple[str, int], Opened] = {}

    def origin(self, source: Source) -> tuple[Origin, Checkpoint | None]:
        """Where the weights come from, and what of them is on disk."""
        if isinstance(source, Untrained):
            return "untrained", None
        if isinstance(source, ExternalCheckpoint):
            return "file", None
        if not self._request.retrain and (found := find_shipped(source)):
            return "shipped", found
        start = self.origin(source.before)[1] if source.before else None
        if source.before and start is None:
            return "to train", None
        found = find_trained(source, self._folder, start)
        return ("trained", found) if found else ("to train", None)

    def open(self, source: Source, label: str) -> Opened:
        """The network of a source, trained now where it has no weights yet.

        Args:
            source: of the weights.
            label: what the network is called where it cannot be trained.

        Raises:
            UsageError: a file is not what it was or does not fit.
        """
        try:
            network, sha256 = self._opened(source)
        except UsageError:
            raise
        except Exception as error:
            LOG.exception("%s: training failed", label)
            return Opened(network=None, sha256="", problem=f"{label}: training failed: {one_line(error)}")
        return Opened(network=network.to(self._request.device), sha256=sha256, problem="")

    def donor(self, name: str, seed: int) -> Opened:
        """The network that attacks call ``name``, of the run's model, dataset and recipe; opened once."""
        if (name, seed) not in self._donors:
            self._donors[name, seed] = self.open(self._donor_job(name, seed), f"donor {name}")
        return self._donors[name, seed]

    def donor_origin(self, name: str, seed: int) -> tuple[Origin, Checkpoint | None]:
        """Where the weights of a donor come from, and what of them is on disk."""
        return self.origin(self._donor_job(name, seed))

    def _donor_job(self, name: str, seed: int) -> TrainingJob:
        return job_of(self._request, self._data, self._request.donors[name], seed)

    def _opened(self, source: Source) -> tuple[nn.Module, str]:
        facts = image_facts(self._data)
        if isinstance(source, Untrained):
            return source.open(self._data)
        if isinstance(source, ExternalCheckpoint):
            return source.open(facts)
        checkpoint = self._checkpoint(source)
        return checkpoint.network(source.method.item, source.model.item, facts), checkpoint.card.sha256

    def _checkpoint(self, job: TrainingJob) -> Checkpoint:
        """The weights of a job, trained now where there are none yet, after those that they go on from."""
        _, checkpoint = self.origin(job)
        if checkpoint is not None:
            return checkpoint
        start = self._checkpoint(job.before) if job.before else None
        LOG.info("%s: training for %d epochs", job.method.label, job.epochs)
        return train_into(job, self._data, self._folder, self._request.device, start)


def one_line(error: Exception) -> str:
    """What went wrong, as rows and lists of failures say it."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
