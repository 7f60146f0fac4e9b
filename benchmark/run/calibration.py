"""What things cost on this machine, found out by doing a little of them.

Passes hardly depend on the network, so they are counted on a tiny one, with two images. Few depend on the size of the
images, so large ones are shrunk. What a pass takes is measured on a network of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.executors.batches import Batches
from attrobust.benchmark.executors.inputs import images_of, rules_of
from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, BatchPart, CellJob
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.shrunk import SIDE, shrunk
from attrobust.benchmark.training.first_step import first_step
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.naming.component import Component
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import Passes, counted
from attrobust.process import seeded, standard

SAMPLE = 2
"""Images that passes are counted with."""
LONG = 0.1
"""Seconds of a forward pass above which no larger batch is timed."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What one image costs.

    Attributes:
        forward, backward, double_backward: passes, see ``Passes``.
    """

    forward: float
    backward: float
    double_backward: float


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Seconds of the passes of one image."""

    forward: float
    backward: float
    double_backward: float

    def of(self, cost: PerImage) -> float:
        """Seconds of one image."""
        return cost.forward * self.forward + cost.backward * self.backward + cost.double_backward * self.double_backward


@dataclass(frozen=True)
class _Bench:
    """Images, and a tiny network for them."""

    data: Loaded
    network: nn.Module


class Calibration:
    """Counts passes, and times passes and steps.

    Args:
        request, data: of the run.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data = request, data
        self._benches = [self._bench(data)] if data.size <= SIDE else [self._bench(shrunk(data)), self._bench(data)]

    def of_cell(self, job: CellJob) -> PerImage:
        """The passes of a cell that is computed in batches."""
        rows = range(min(SAMPLE, job.cell.images))
        metrics = tuple(range(max(1, len(job.metrics))))
        part = BatchPart(rows=rows, metrics=metrics)
        batch = BatchJob(key="", label=job.label, whole=job, rows=rows, parts=(part,), keeps=False)
        error = ""
        for bench in self._suitable(job.explainer):
            with seeded(0), counted(bench.network) as passes:
                computed = Batches(self._request, bench.data).computed
                error = computed(batch, bench.network, independent_copy(bench.network)).error
            if not error:
                return _each(passes, len(rows))
        raise RuntimeError(error)

    def of_audit(self, job: AuditJob) -> PerImage:
        """The passes of an audit."""
        bench, *_ = self._suitable(job.explainer)
        count = min(SAMPLE, job.cell.images)
        images = images_of(bench.data.splits[job.split], count).take(range(count))
        with seeded(0), counted(bench.network) as passes:
            probe(bench.network, job.explainer.item, images, rules_of(self._request, job.cell))
        return _each(passes, count)

    def prices(self, network: nn.Module, count: int) -> Prices:
        """What a pass of an image takes through a network, in batches of at most ``count``."""
        x = self._data.splits["test"].batch(range(count))[0].to(self._request.device)
        network = independent_copy(network).to(self._request.device).eval().requires_grad_(False)
        with seeded(0), standard(), torch.enable_grad():
            few = min(4, count)
            if self._timed(lambda: network(x[:few])) * count / few > LONG:
                x = x[:few]
            forward = self._timed(lambda: network(x))
            gradient = self._timed(lambda: _gradient(network, x))
            penalty = self._timed(lambda: _penalty(network, x))
        return Prices(
            forward=forward / len(x),
            backward=max(0.0, gradient - forward) / len(x),
            double_backward=max(0.0, penalty - gradient) / len(x),
        )

    def first_optimiser(self) -> float:
        """Seconds that the first optimiser of a process takes: torch imports its compiler for it."""
        return self._once(lambda: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))

    def epoch(self, job: TrainingJob) -> float:
        """Seconds of one epoch of a training, without validation, from one of its steps."""
        method, device = independent_copy(job.method.item), self._request.device
        with seeded(0):
            network = fresh_network(method, job.model.item, self._data, seed=0).to(device)
            split = self._data.splits["train"]
            step = first_step(network, method, split, job.recipe, device)
            with standard(), torch.enable_grad():
                return self._timed(step) * -(-len(split) // job.recipe.batch_size)

    def _bench(self, data: Loaded) -> _Bench:
        with seeded(0):
            return _Bench(data, LeNet(width=2, hidden=4).build(image_facts(data)).to(self._request.device).eval())

    def _suitable(self, explainer: Component[Explainer] | None) -> list[_Bench]:
        """Images and networks to count passes with, cheapest first; small ones where a map takes as many passes."""
        if explainer is None or len(self._benches) == 1:
            return self._benches
        small, real = (self._of_map(bench, explainer.item) for bench in self._benches)
        return self._benches if small == real else self._benches[1:]

    def _of_map(self, bench: _Bench, explainer: Explainer) -> Passes:
        image = bench.data.splits["test"].batch([0])[0].to(self._request.device)
        with seeded(0), counted(bench.network) as passes:
            explainer(bench.network, image, torch.zeros(1, dtype=torch.int64, device=image.device))
        return passes

    def _timed(self, job: Callable[[], object]) -> float:
        """Seconds of a call; of the second one where the first was short."""
        took = self._once(job)
        return min(took, self._once(job)) if took < 1 else took

    def _once(self, job: Callable[[], object]) -> float:
        started = time.perf_counter()
        job()
        if self._request.device.type == "cuda":
            torch.cuda.synchronize(self._request.device)
        return time.perf_counter() - started


def _each(passes: Passes, count: int) -> PerImage:
    return PerImage(
        forward=passes.forward / count,
        backward=passes.backward / count,
        double_backward=passes.double_backward / count,
    )


def _gradient(network: nn.Module, x: Tensor) -> None:
    attached = x.clone().requires_grad_()
    logits: Tensor = network(attached)
    torch.autograd.grad(logits.amax(dim=1).sum(), attached)


def _penalty(network: nn.Module, x: Tensor) -> None:
    attached = x.clone().requires_grad_()
    logits: Tensor = network(attached)
    (gradient,) = torch.autograd.grad(logits.logsumexp(dim=1).sum(), attached, create_graph=True)
    torch.autograd.grad(gradient.square().sum(), attached)
