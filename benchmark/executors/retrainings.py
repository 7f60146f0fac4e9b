"""Networks trained anew on images that were changed according to maps: one at a time, or all that a cell needs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.evaluation.retraining import Retraining, all_images, evaluate_retraining, split_maps
from attrobust.benchmark.evaluation.scores import Scores, unattacked
from attrobust.benchmark.executors.inputs import rules_of
from attrobust.benchmark.executors.jobs import CellJob, RetrainingJob
from attrobust.benchmark.executors.networks import retraining_job
from attrobust.benchmark.request.request import Request
from attrobust.metrics.shared.retraining import RetrainingMetric
from attrobust.types import SplitName

Maps = Callable[[SplitName], Tensor]


class Retrainings:
    """Carries out the trainings of retraining metrics, with the maps of the network that was last asked for.

    Args:
        request, data: of the run.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data = request, data
        self._maps: tuple[tuple[object, ...], Maps] | None = None

    def scores(self, job: CellJob, network: nn.Module) -> Scores:
        """The scores of a cell; networks that are trained already are not trained again."""
        found = self._evaluated(job, network, self._retraining(job))
        repeats = tuple(tuple(scores.nanmean(dim=1).tolist()) for scores in found)
        return replace(unattacked([scores.mean(dim=0) for scores in found]), repeats=repeats)

    def one(self, job: RetrainingJob, network: nn.Module) -> None:
        """Train one network of a cell; what it learns stays on disk for the cell."""
        retrain, numbers = self._retraining(job.whole), itertools.count()

        def only(images: Mapping[SplitName, Tensor], seed: int) -> Tensor:
            if next(numbers) == job.number:
                retrain(images, seed)
                raise _EnoughError
            return torch.zeros(len(images["test"]), dtype=torch.bool)

        try:
            self._evaluated(job.whole, network, only)
        except _EnoughError:
            return

    def _evaluated(
        self, job: CellJob, network: nn.Module, retrain: Callable[[Mapping[SplitName, Tensor], int], Tensor]
    ) -> list[Tensor]:
        if job.explainer is None:
            raise ValueError(f"{job.label} has no explainer whose maps images could be changed by")
        metrics = [metric.item for metric in job.metrics if isinstance(metric.item, RetrainingMetric)]
        rules, maps = rules_of(self._request, job.cell), self._maps_of(job, network)
        explainer = job.explainer.item
        return evaluate_retraining(
            network, explainer, metrics, self._data, rules, retrain, maps=maps, progress=job.label
        )

    def _retraining(self, job: CellJob) -> Retraining:
        return Retraining(
            job=retraining_job(self._request, self._data, job.network.source.model),
            data=self._data,
            device=self._request.device,
            folder=self._request.out / "retrainings",
        )

    def _maps_of(self, job: CellJob, network: nn.Module) -> Maps:
        """The maps of a network and an explainer, kept until others are asked for."""
        facts = (job.cell.checkpoint_sha256, job.network.key, job.cell.explainer, job.cell.reduction, job.cell.seed)
        if self._maps is None or self._maps[0] != facts:
            images, rules = all_images(self._data), rules_of(self._request, job.cell)
            explainer = job.explainer.item if job.explainer else None
            assert explainer is not None
            computed = functools.cache(lambda name: split_maps(network, explainer, images[name], rules))
            self._maps = (facts, computed)
        return self._maps[1]


class _EnoughError(BaseException):
    """The training that was asked for is done; no metric may take it for an error of its own."""
