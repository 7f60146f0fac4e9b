"""Carries out one job at a time in its process, with the images of the run and the networks that it has open."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from attrobust.benchmark.audit.case import IMAGES
from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.checkpoints.claims import examine
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.evaluation.scores import Scores, unattacked
from attrobust.benchmark.executors.base import Job, Result, one_line
from attrobust.benchmark.executors.batches import Batches
from attrobust.benchmark.executors.inputs import images_of, rules_of, stamp_of
from attrobust.benchmark.executors.jobs import (
    AuditJob,
    AuditResult,
    BatchJob,
    BatchResult,
    CellJob,
    CellResult,
    ClaimJob,
    ClaimResult,
    NetworkJob,
    NetworkResult,
    RetrainingJob,
)
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.executors.retrainings import Retrainings
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.training.loop import correct
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.maps.seeds import derive_seed
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import Passes
from attrobust.process import contained, seeded
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network in memory, evaluating, on the run's device, with the sha256 of its weights."""

    network: nn.Module
    sha256: str
    lent: bool


class Worker:
    """Carries out jobs; called with one, returns its result.

    It holds the network it used last and those that attacks on others use, so that a row is measured with one opening
    of its network and no more than one is in memory beside the lent ones.

    Args:
        request: of the run; its folder is where networks are found and trained into.
        data: its images.
        copies: see ``Networks``.
    """

    def __init__(self, request: Request, data: Loaded, copies: Mapping[Path, Path] | None = None) -> None:
        self._request, self._data = request, data
        self._networks = Networks(request, data, request.out / "checkpoints", copies)
        self._opened: dict[str, Opened] = {}
        self._retrainings = Retrainings(request, data)
        self._batches = Batches(request, data)

    def __call__(self, job: Job) -> Result:
        """Carry out a job; what goes wrong with a network or a cell is in its result.

        Raises:
            UsageError: see ``Networks.open``.
        """
        # Whatever was carried out before, in this process or in another, decides nothing.
        with seeded(derive_seed("job", self._request.protocol.evaluation_seed)):
            return self._carried_out(job)

    def _carried_out(self, job: Job) -> Result:
        if isinstance(job, NetworkJob):
            return self._obtain(job)
        if isinstance(job, BatchJob):
            return self._compute_batch(job)
        if isinstance(job, CellJob):
            return self._compute(job)
        if isinstance(job, RetrainingJob):
            return self._retrain(job)
        if isinstance(job, AuditJob):
            return self._audit(job)
        if isinstance(job, ClaimJob):
            return self._examine(job)
        raise TypeError(f"no worker knows how to carry out a {type(job).__name__}")

    def _obtain(self, job: NetworkJob) -> NetworkResult:
        try:
            with contained():
                return NetworkResult(sha256=self._open(job).sha256)
        except UsageError:
            raise
        except Exception as error:
            problem = f"training failed: {one_line(error)}"
            return NetworkResult(error=problem, traceback=traceback.format_exc())

    def _open(self, job: NetworkJob) -> Opened:
        """The network of a job; opening one that is not lent closes the last one of these."""
        if job.key not in self._opened:
            if not job.lent:
                self._opened = {key: opened for key, opened in self._opened.items() if opened.lent}
            network, sha256 = self._networks.open(job.source)
            self._opened[job.key] = Opened(network=network.to(self._request.device), sha256=sha256, lent=job.lent)
        return self._opened[job.key]

    def _network(self, job: NetworkJob, sha256: str) -> nn.Module:
        """The network of a job that has been carried out; raises UsageError where its weights are others by now."""
        opened = self._open(job)
        if opened.sha256 != sha256:
            raise UsageError(f"{job.label}: its weights changed during the run; run the same command again")
        return opened.network

    def _networks_of(self, job: CellJob) -> tuple[nn.Module, nn.Module | None]:
        """The network of a cell, and the source model of its attack."""
        network = self._network(job.network, job.cell.checkpoint_sha256)
        if job.source_model is None:
            return network, None
        return network, self._network(job.source_model, job.cell.source_model_sha256)

    def _compute(self, job: CellJob) -> CellResult:
        """The scores of a cell that is computed as a whole."""
        network, _ = self._networks_of(job)
        scores, problem, where = None, "", ""
        started = time.monotonic()
        try:
            with contained():
                scores = self._scores(job, network)
        except UsageError:
            raise
        except Exception as error:
            problem, where = one_line(error), traceback.format_exc()
        seconds = round(time.monotonic() - started, 3)
        return CellResult(
            scores=scores, seconds=seconds, provenance=stamp_of(self._request), error=problem, traceback=where
        )

    def _compute_batch(self, job: BatchJob) -> BatchResult:
        network, source_model = self._networks_of(job.whole)
        return self._batches.computed(job, network, source_model)

    def _scores(self, job: CellJob, network: nn.Module) -> Scores:
        if job.explainer is None:
            split = self._data.splits[job.split]
            hits = correct(independent_copy(network), split, len(split), self._request.device)
            return replace(unattacked([hits.double()]), passes=Passes(forward=len(hits)))
        with memory_budget(self._request.chunks):
            return self._retrainings.scores(job, network)

    def _retrain(self, job: RetrainingJob) -> Result:
        """Train a network for a cell. What goes wrong is said by the cell, which then trains it again."""
        network, _ = self._networks_of(job.whole)
        try:
            with contained(), memory_budget(self._request.chunks):
                self._retrainings.one(job, network)
        except UsageError:
            raise
        except Exception as error:
            return Result(error=one_line(error), traceback=traceback.format_exc())
        return Result()

    def _audit(self, job: AuditJob) -> AuditResult:
        network = self._network(job.network, job.cell.checkpoint_sha256)
        started = time.monotonic()
        count = min(IMAGES, job.cell.images)
        images = images_of(self._data.splits[job.split], count).take(range(count))
        with memory_budget(self._request.chunks):
            flags = probe(network, job.explainer.item, images, rules_of(self._request, job.cell))
        return AuditResult(flags=tuple(flags), seconds=time.monotonic() - started)

    def _examine(self, job: ClaimJob) -> ClaimResult:
        network = self._open(job.network).network
        test, val = self._data.splits["test"], self._data.splits["val"]
        finding = examine(
            network,
            torch.tensor(job.hits),
            test.labels,
            job.checkpoint.model.item,
            image_facts(self._data),
            self._networks.at_hand(job.checkpoint).source.claim(self._data),
            lambda: correct(independent_copy(network), val, len(val), self._request.device),
            self._data.preparation,
        )
        return ClaimResult(finding=finding)
