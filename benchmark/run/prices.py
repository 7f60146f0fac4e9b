"""What passes through a network take on this machine: seconds of an image, forward, backward and in second order."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.descent import Slope
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.process import seeded, standard
from attrobust.threat import ThreatModel

FEW = 2
"""Images of the smaller batch that is timed."""
LONG = 0.1
"""Seconds of a forward pass above which no larger batch is timed."""


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


class Timer:
    """Tells how long things take.

    Args:
        device: that they run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def of(self, job: Callable[[], object]) -> float:
        """Seconds of a call; of the shorter of two where the first was short."""
        took = self.once(job)
        return min(took, self.once(job)) if took < 1 else took

    def once(self, job: Callable[[], object]) -> float:
        """Seconds of one call."""
        started = self.now()
        job()
        return self.now() - started

    def now(self) -> float:
        """Seconds: those that this thread computes, whatever else the machine does; on a GPU those of a clock."""
        if self._device.type != "cuda":
            return time.thread_time()
        torch.cuda.synchronize(self._device)
        return time.perf_counter()


def prices(network: nn.Module, x: Tensor, threat: ThreatModel, timer: Timer) -> Prices:
    """What a pass of an image takes in a batch; what the batch takes itself is left out where that can be told apart.

    Differentiating a gradient is timed as attacks do it, in a smoothed model.

    Args:
        network: evaluating, without gradients of its parameters.
        x: a batch as large as those of the run, B×C×H×W; fewer are used where a pass is long.
        threat: of the run.
        timer: of the device.
    """
    few = x[:FEW]
    with seeded(0), standard(), torch.enable_grad():
        smaller = _seconds(network, few, threat, timer)
        times = [value / len(few) for value in smaller]
        if len(x) >= 4 * FEW and smaller[0] * len(x) / len(few) <= LONG:
            larger = _seconds(network, x, threat, timer)
            more = len(x) - len(few)
            times = [max(0.0, value - less) / more for value, less in zip(larger, smaller, strict=True)]
    forward, whole, step, precise_forward, precise_whole = times
    backward = max(0.0, whole - forward)
    return Prices(
        forward=forward,
        backward=backward,
        # A step pulls back to the input twice, once of them through the gradient.
        double_backward=max(0.0, step - forward - 2 * backward),
        precise_forward=precise_forward,
        precise_backward=max(0.0, precise_whole - precise_forward),
    )


def _seconds(network: nn.Module, x: Tensor, threat: ThreatModel, timer: Timer) -> tuple[float, ...]:
    """Of a forward pass, a gradient and a step of an attack, and of the first two in float64."""
    precise = scored_copy(network)
    more = x.to(next(precise.parameters()))
    with torch.no_grad():
        forward, precise_forward = timer.of(lambda: network(x)), timer.of(lambda: precise(more))
    return (
        forward,
        timer.of(lambda: gradient(network, x)),
        _step_seconds(network, x, threat, timer),
        precise_forward,
        timer.of(lambda: gradient(precise, more)),
    )


def _step_seconds(network: nn.Module, x: Tensor, threat: ThreatModel, timer: Timer) -> float:
    """Of a step of an attack; 0 where torch has no second derivative of the network, which no attack then takes."""
    try:
        return timer.of(_step(network, x, threat))
    except RuntimeError:
        return 0.0


def gradient(network: nn.Module, x: Tensor) -> None:
    """Compute the gradient of some logit of each image."""
    attached = x.clone().requires_grad_()
    logits: Tensor = network(attached)
    torch.autograd.grad(logits.amax(dim=1).sum(), attached)


def _step(network: nn.Module, x: Tensor, threat: ThreatModel) -> Callable[[], object]:
    """A step of an attack on gradients."""
    with torch.no_grad():
        y: Tensor = network(x).argmax(dim=1)
    context = Context(
        model=network,
        explainer=Saliency(),
        reduce=functools.partial(reduce_map, how="abs-sum"),
        threat=threat,
        ids=range(len(x)),
        partners=x,
    )
    slope = Slope(Direct(), context, x, y, lambda maps, _: maps.flatten(1).square().sum(dim=1))
    return functools.partial(slope, x, 0)
