"""How much memory the batches of a cell take at their peak, measured on this machine with one image and with two.

What takes most is scoring the maps, in float64, and an attack that differentiates the map, in the network's own
precision: finding the temperatures of its smoothed model, with random images, and a step. All are done here as the run
does them, but for the number of steps; of the chunks that an explainer works in only the first is computed. Where the
system does not say what a process has at its peak, as on macOS, the bytes that autograd saves for an image are
multiplied by what steps took at most.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.descent import GradientAttack, Slope
from attrobust.attacks.engine.differentiated import SmoothedModel
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.benchmark.executors.jobs import CellJob
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.shared.chunks import Sampling, memory_budget, sampled
from attrobust.machine import forget_peak, resident
from attrobust.maps.reduction import reduce_map
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded, standard
from attrobust.threat import ThreatModel

FACTOR = 32
"""Bytes at the peak, in those that autograd saves for a forward pass in float32: five times the most that was measured.

A step through a smoothed LeNet on 32×32 took 6.2, scores in float64 5.5; those of ResNet-18 take less.
"""


REPEATS, SHORT = 3, 0.5
"""How often the peak of a piece of work is measured, and seconds after which no more."""
ARRAYS = 8
"""Images in float64 that an image of a batch takes at least: itself, its results, gradients and maps."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Bytes of a piece of work above what the process has before.

    Attributes:
        fixed: whatever the number of images.
        each: for every image of a batch.
    """

    fixed: int
    each: int

    def of(self, images: int) -> int:
        """Bytes of a batch."""
        return self.fixed + images * self.each

    def fitting(self, room: int) -> int:
        """How many images fit, at least 1."""
        return max(1, (room - self.fixed) // max(1, self.each))


def most(peaks: Sequence[Peak], images: int) -> int:
    """Bytes of a batch of which the pieces of work come one after the other."""
    return max(peak.of(images) for peak in peaks)


def fitting(peaks: Sequence[Peak], room: int) -> int:
    """How many images fit with every piece of work, at least 1."""
    return min(peak.fitting(room) for peak in peaks)


def restarts(job: CellJob) -> int:
    """How many copies of every image an attack moves side by side."""
    count = getattr(job.attack.item, "restarts", 1) if job.attack else 1
    return count if isinstance(count, int) else 1


def bound(job: CellJob, saved: int, chunk: int) -> Peak:
    """What a cell takes at most, where nothing is measured.

    Args:
        job: the cell.
        saved: bytes that autograd saves for an image in float32.
        chunk: bytes that an explainer's chunk is made for.
    """
    return Peak(fixed=2 * chunk, each=FACTOR * saved * restarts(job))


def measured(
    job: CellJob, network: nn.Module, images: Tensor, device: torch.device, chunks: int | None
) -> tuple[Peak, ...]:
    """The peaks of what is done with a batch of a cell; none where the system does not say.

    Args:
        job: the cell.
        network: evaluating.
        images: at least two, B×C×H×W.
        device: of the run.
        chunks: see ``Request.chunks``.
    """
    network = independent_copy(network).to(device).eval().requires_grad_(False)
    x = images.to(device)
    with torch.no_grad():
        y: Tensor = network(x).argmax(dim=1)
    found: list[Peak] = []
    least = ARRAYS * 8 * x[0].numel() * restarts(job)
    for work in _works(job, network, x, y):
        with seeded(0), memory_budget(chunks), sampled(Sampling(whole_blocks=True)):
            # Two first: what only the first call takes must not make an image look smaller than it is.
            two, one = (_largest(functools.partial(work, count), device) for count in (2, 1))
        if two is None or one is None:
            return ()
        each = max(least, two - one)
        found.append(Peak(fixed=max(0, one - each), each=each))
    return tuple(found)


def _works(job: CellJob, network: nn.Module, x: Tensor, y: Tensor) -> list[Callable[[int], object]]:
    """What takes the memory of a cell, as functions of the number of images."""
    explainer = job.explainer.item if job.explainer else Saliency()
    scored = scored_copy(network)

    def score(count: int) -> object:
        return explainer(scored, x[:count].to(next(scored.parameters())), y[:count])

    works: list[Callable[[int], object]] = [score]
    if job.attack is None or not (isinstance(job.attack.item, GradientAttack) or job.attack.item.follows_gradient):
        return works
    attack = job.attack.item if isinstance(job.attack.item, GradientAttack) else Direct()
    copies = restarts(job)

    context = Context(
        model=network,
        explainer=explainer,
        reduce=functools.partial(reduce_map, how="abs-sum"),
        threat=ThreatModel(eps=8 / 255),
        ids=range(len(x)),
        partners=x,
        surrogate=None if explainer.differentiable else Saliency(),
        source_model=network,
    )
    smoothed: list[SmoothedModel] = []

    def smooth(_count: int) -> object:
        smoothed.append(attack.differentiated(context, x))
        return smoothed

    def step(count: int) -> object:
        some, classes = x[:count].repeat(copies, 1, 1, 1), y[:count].repeat(copies)
        with standard():
            return Slope(attack, context, some, classes, _sum_of_squares, smoothed[0])(some, 0)

    return [*works, smooth, step]


def _sum_of_squares(maps: Tensor, _logits: Tensor) -> Tensor:
    return maps.flatten(1).square().sum(dim=1)


def _largest(work: Callable[[], object], device: torch.device) -> int | None:
    """The largest of several peaks, where one is short: the heap grows in steps that depend on what it has free."""
    found: list[int] = []
    started = time.thread_time()
    while len(found) < REPEATS and (not found or time.thread_time() - started < SHORT):
        peak = peak_of(work, device)
        if peak is None:
            return None
        found.append(peak)
    return max(found)


def peak_of(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a piece of work takes at its peak above what there is before; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not forget_peak():
        return None
    before = resident()
    work()
    return max(0, resident(peak=True) - before)
