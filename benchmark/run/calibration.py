"""What things cost on this machine, found out by doing a little of them.

Passes hardly depend on the network, so they are counted on a tiny one, with two images, of whose copies an explainer
computes two that stand for all. What a pass takes is measured on each network of the run, see ``prices``.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from attrobust.benchmark.audit.probe import probe
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.executors.batches import Batches
from attrobust.benchmark.executors.inputs import images_of, rules_of
from attrobust.benchmark.executors.jobs import AuditJob, BatchJob, BatchPart, CellJob
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.prices import PerImage, Prices, Timer, gradient, prices
from attrobust.benchmark.training.first_step import first_step
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import Sampling, memory_budget, sampled
from attrobust.networks.copying import independent_copy
from attrobust.networks.passes import Passes, Tally, tallied
from attrobust.networks.randomised import layers_meant
from attrobust.process import seeded, standard

SAMPLE = 2
"""Images that passes are counted with."""
SIDE = 32
"""Of the images that the tiny network sees: larger ones are averaged first, so that counting takes no longer."""


class Calibration:
    """Counts passes, and times passes and steps.

    Args:
        request, data: of the run.
    """

    def __init__(self, request: Request, data: Loaded) -> None:
        self._request, self._data, self._timer = request, data, Timer(request.device)
        facts = image_facts(data)
        factor = max(1, facts.size // SIDE)
        with seeded(0):
            tiny = LeNet(width=4, hidden=16).build(replace(facts, size=facts.size // factor))
            self._tiny = (nn.Sequential(nn.AvgPool2d(factor), tiny) if factor > 1 else tiny).to(request.device).eval()

    def of_cell(self, job: CellJob, together: int, saved: int, layers: int) -> PerImage:
        """The passes of a cell that is computed in batches.

        Args:
            job: the cell.
            together: images of a batch.
            saved: bytes that autograd saves for one image in the network that is meant, in float32.
            layers: of that network, see ``attrobust.networks.randomised.layers``.
        """
        rows = range(min(SAMPLE, job.cell.images))
        metrics = tuple(range(max(1, len(job.metrics))))
        part = BatchPart(rows=rows, metrics=metrics)
        batch = BatchJob(key="", label=job.label, whole=job, rows=rows, together=len(rows), parts=(part,), keeps=False)
        started = self._timer.now()
        with (
            seeded(0),
            sampled(Sampling(images=min(together, job.cell.images), saved=saved)),
            layers_meant(layers),
            tallied(self._tiny) as passes,
        ):
            result = Batches(self._request, self._data).computed(batch, self._tiny, independent_copy(self._tiny))
        if result.error:
            raise RuntimeError(result.error)
        return _each(passes, len(rows), self._timer.now() - started)

    def of_map(self, explainer: Explainer, saved: int) -> PerImage:
        """The passes of one map, without a graph."""
        x = self._images(1)
        with (
            seeded(0),
            memory_budget(self._request.chunks),
            sampled(Sampling(saved=saved)),
            tallied(self._tiny) as passes,
        ):
            explainer(self._tiny, x, torch.zeros(1, dtype=torch.int64, device=x.device))
        return _each(passes, 1, 0.0)

    def of_audit(self, job: AuditJob, saved: int) -> PerImage:
        """The passes of an audit."""
        split = self._data.splits[job.split]
        count = min(SAMPLE, job.cell.images)
        images = images_of(split, count).take(range(count))
        started = self._timer.now()
        with seeded(0), sampled(Sampling(saved=saved)), tallied(self._tiny) as passes:
            probe(self._tiny, job.explainer.item, images, rules_of(self._request, job.cell))
        return _each(passes, count, self._timer.now() - started)

    def prices(self, network: nn.Module, count: int) -> Prices:
        """What a pass of an image takes through a network, in batches of at most ``count``."""
        return prices(self._placed(network), self._images(count), self._request.protocol.threat, self._timer)

    def gradient(self, network: nn.Module) -> float:
        """Seconds of the gradient of one image."""
        placed, x = self._placed(network), self._images(1)
        with seeded(0), standard(), torch.enable_grad():
            return self._timer.of(lambda: gradient(placed, x))

    def _placed(self, network: nn.Module) -> nn.Module:
        return independent_copy(network).to(self._request.device).eval().requires_grad_(False)

    def _images(self, count: int) -> Tensor:
        return self._data.splits["test"].batch(range(count))[0].to(self._request.device)

    def first_optimiser(self) -> float:
        """Seconds that the first optimiser of a process takes: torch imports its compiler for it."""
        return self._timer.once(lambda: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))

    def epoch(self, job: TrainingJob) -> float:
        """Seconds of one epoch of a training, without validation, from one of its steps."""
        method, device = independent_copy(job.method.item), self._request.device
        with seeded(0):
            network = fresh_network(method, job.model.item, self._data, seed=0).to(device)
            split = self._data.splits["train"]
            step = first_step(network, method, split, job.recipe, device)
            with standard(), torch.enable_grad():
                return self._timer.of(step) * -(-len(split) // job.recipe.batch_size)


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
