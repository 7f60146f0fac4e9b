"""What things cost on this machine, found out by doing a little of them.

Passes hardly depend on the network, so they are counted on a tiny one, with two images, of whose copies an explainer
computes two that stand for all. What a pass takes is measured on each network of the run.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.descent import Slope
from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.benchmark.executors.batches import Batches
from attrobust.benchmark.executors.inputs import images_of, rules_of
from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, BatchPart, CellJob
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.training.first_step import first_step
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.shared.chunks import Sampling, memory_budget, sampled
from attrobust.maps.reduction import reduce_map
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import Passes, Tally, tallied
from attrobust.process import seeded, standard

SAMPLE = 2
"""Images that passes are counted with."""
LONG = 0.1
"""Seconds of a forward pass above which no larger batch is timed."""
SIDE = 32
"""Of the images that the tiny network sees: larger ones are averaged first, so that counting takes no longer."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What one image costs.

    Attributes:
        forward, backward, double_backward: passes, see ``Passes``.
        precise: share of the forward passes that are made in float64, as scores are.
        precise_backward: of the backward passes.
        once: forward passes for a batch of any size.
        seconds: beside passes, for a batch of any size.
    """

    forward: float
    backward: float
    double_backward: float
    precise: float = 0.0
    precise_backward: float = 0.0
    once: float = 0.0
    seconds: float = 0.0

    @property
    def passes(self) -> float:
        """Of any kind."""
        return self.forward + self.backward + self.double_backward


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Seconds of the passes of one image.

    Attributes:
        forward, backward, double_backward: in the network's own precision.
        precise_forward, precise_backward: in float64.
    """

    forward: float
    backward: float
    double_backward: float
    precise_forward: float
    precise_backward: float

    def of(self, cost: PerImage, images: int) -> float:
        """Seconds of a batch."""
        forward = cost.precise * self.precise_forward + (1 - cost.precise) * self.forward
        backward = cost.precise_backward * self.precise_backward + (1 - cost.precise_backward) * self.backward
        each = cost.forward * forward + cost.backward * backward + cost.double_backward * self.double_backward
        return each * images + cost.once * self.forward + cost.seconds


class Calibration:
    """Counts passes, and times passes and steps.

    Args:
        request, data: of the run.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data = request, data
        facts = image_facts(data)
        factor = max(1, facts.size // SIDE)
        with seeded(0):
            tiny = LeNet(width=4, hidden=16).build(replace(facts, size=facts.size // factor))
            self._tiny = (nn.Sequential(nn.AvgPool2d(factor), tiny) if factor > 1 else tiny).to(request.device).eval()

    def of_cell(self, job: CellJob, together: int, saved: int) -> PerImage:
        """The passes of a cell that is computed in batches.

        Args:
            job: the cell.
            together: images of a batch.
            saved: bytes that autograd saves for one image in the network that is meant, in float32.
        """
        rows = range(min(SAMPLE, job.cell.images))
        metrics = tuple(range(max(1, len(job.metrics))))
        part = BatchPart(rows=rows, metrics=metrics)
        batch = BatchJob(key="", label=job.label, whole=job, rows=rows, together=len(rows), parts=(part,), keeps=False)
        started = self._now()
        with (
            seeded(0),
            sampled(Sampling(images=min(together, job.cell.images), saved=saved)),
            tallied(self._tiny) as passes,
        ):
            result = Batches(self._request, self._data).computed(batch, self._tiny, independent_copy(self._tiny))
        if result.error:
            raise RuntimeError(result.error)
        return _each(passes, len(rows), self._now() - started)

    def of_map(self, explainer: Explainer, saved: int) -> PerImage:
        """The passes of one map, without a graph."""
        x = self._data.splits["test"].batch([0])[0].to(self._request.device)
        with (
            seeded(0),
            memory_budget(self._request.chunks),
            sampled(Sampling(saved=saved)),
            tallied(self._tiny) as passes,
        ):
            explainer(self._tiny, x, torch.zeros(1, dtype=torch.int64))
        return _each(passes, 1, 0.0)

    def of_audit(self, job: AuditJob, saved: int) -> PerImage:
        """The passes of an audit."""
        split = self._data.splits[job.split]
        count = min(SAMPLE, job.cell.images)
        images = images_of(split, count).take(range(count))
        started = self._now()
        with seeded(0), sampled(Sampling(saved=saved)), tallied(self._tiny) as passes:
            probe(self._tiny, job.explainer.item, images, rules_of(self._request, job.cell))
        return _each(passes, count, self._now() - started)

    def prices(self, network: nn.Module, count: int) -> Prices:
        """What a pass of an image takes through a network, in batches of at most ``count``.

        Differentiating a gradient is timed as attacks do it, in a smoothed model.
        """
        x = self._data.splits["test"].batch(range(count))[0].to(self._request.device)
        network = independent_copy(network).to(self._request.device).eval().requires_grad_(False)
        with seeded(0), standard(), torch.enable_grad():
            few = min(SAMPLE, count)
            if self._timed(lambda: network(x[:few])) * count / few > LONG:
                x = x[:few]
            forward, gradient = self._gradient(network, x)
            step = self._timed(self._step(network, x))
            precise_forward, precise_gradient = self._gradient(scored_copy(network), x)
        backward = max(0.0, gradient - forward)
        return Prices(
            forward=forward / len(x),
            backward=backward / len(x),
            # A step pulls back to the input twice, once of them through the gradient.
            double_backward=max(0.0, step - forward - 2 * backward) / len(x),
            precise_forward=precise_forward / len(x),
            precise_backward=max(0.0, precise_gradient - precise_forward) / len(x),
        )

    def gradient(self, network: nn.Module) -> float:
        """Seconds of the gradient of one image."""
        x = self._data.splits["test"].batch([0])[0].to(self._request.device)
        network = independent_copy(network).to(self._request.device).eval().requires_grad_(False)
        with seeded(0), standard(), torch.enable_grad():
            return self._timed(lambda: _gradient(network, x))

    def _gradient(self, network: nn.Module, x: Tensor) -> tuple[float, float]:
        """Seconds of a forward pass, and of that with the gradient."""
        x = x.to(next(network.parameters()))
        with torch.no_grad():
            forward = self._timed(lambda: network(x))
        return forward, self._timed(lambda: _gradient(network, x))

    def _step(self, network: nn.Module, x: Tensor) -> Callable[[], object]:
        """A step of an attack on gradients."""
        with torch.no_grad():
            y: Tensor = network(x).argmax(dim=1)
        context = Context(
            model=network,
            explainer=Saliency(),
            reduce=functools.partial(reduce_map, how=self._request.protocol.reduction),
            threat=self._request.protocol.threat,
            ids=range(len(x)),
            partners=x,
        )
        slope = Slope(Direct(), context, x, y, lambda maps, _: maps.flatten(1).square().sum(dim=1))
        return functools.partial(slope, x, 0)

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

    def _timed(self, job: Callable[[], object]) -> float:
        """Seconds of a call; of the second one where the first was short."""
        took = self._once(job)
        return min(took, self._once(job)) if took < 1 else took

    def _once(self, job: Callable[[], object]) -> float:
        started = self._now()
        job()
        return self._now() - started

    def _now(self) -> float:
        """Seconds: those that this thread computes, whatever else the machine does; on a GPU those of a clock."""
        if self._request.device.type != "cuda":
            return time.thread_time()
        torch.cuda.synchronize(self._request.device)
        return time.perf_counter()


def _each(tally: Tally, count: int, seconds: float) -> PerImage:
    """The passes of each of ``count`` images."""
    forward, backward, double_backward = (
        sum(getattr(found, name) for found in tally.each.values())
        for name in ("forward", "backward", "double_backward")
    )
    precise = tally.each.get(torch.float64, Passes())
    return PerImage(
        forward=forward / count,
        backward=backward / count,
        double_backward=double_backward / count,
        precise=precise.forward / max(1, forward),
        precise_backward=precise.backward / max(1, backward),
        once=tally.once.forward,
        seconds=seconds,
    )


def _gradient(network: nn.Module, x: Tensor) -> None:
    attached = x.clone().requires_grad_()
    logits: Tensor = network(attached)
    torch.autograd.grad(logits.amax(dim=1).sum(), attached)
