"""The network an attack differentiates: the scored one, or one without its kinks that shares all its weights."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from attrobust.networks.kinks import SmoothActivation
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothed import KINKED, is_smooth, smooth_activation_view, smooth_pooling_view
from attrobust.threat import ThreatModel

PROBES = 8
"""Images that tell how far the inputs of a layer move."""


class View:
    """A network to be differentiated, whose smooth parts can be made sharper.

    Attributes:
        network: in evaluation mode.
    """

    def __init__(self, network: nn.Module, replaced: dict[nn.Module, float]) -> None:
        self.network = network
        self._replaced = replaced

    def sharpen(self, factor: float) -> None:
        """Make every replaced part ``factor`` times as sharp as it was at first."""
        for module, first in self._replaced.items():
            if isinstance(module, LogSumExpPool):
                module.sharpness = factor * first
            elif isinstance(module, (nn.Softplus, SmoothActivation)):
                module.beta = factor * first


def smooth_view(
    model: nn.Module, reach: dict[str, float], *, beta: float | None, pool: float | None, sharpness: float
) -> View:
    """The network with softplus for ReLU, sums of softplus for its like, and log-sum-exp for max-pooling.

    Args:
        model: whose activations are modules; smooth ones are kept.
        reach: see ``reach_of``.
        beta: sharpness of the softplus; None for ``sharpness / reach`` of each layer.
        pool: the same for log-sum-exp; 0 keeps max-pooling.
        sharpness: in units of one over the reach.
    """
    network = model if is_smooth(model) else smooth_activation_view(model, 1.0)
    network = network if pool == 0 else smooth_pooling_view(network, 1.0)
    if network is model:
        return View(model, {})
    before = dict(model.named_modules(remove_duplicate=False))
    replaced: dict[nn.Module, float] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if type(module) is type(before[name]):
            continue
        fixed = pool if isinstance(module, LogSumExpPool) else beta
        if isinstance(module, (LogSumExpPool, nn.Softplus, SmoothActivation)):
            # What is never called has no reach, and no sharpness that matters.
            replaced[module] = sharpness / reach.get(name, 1.0) if fixed is None else fixed
    view = View(network, replaced)
    view.sharpen(1.0)
    return view


def reach_of(model: nn.Module, threat: ThreatModel, shape: torch.Size, like: Tensor) -> dict[str, float]:
    """How far random perturbations of the ball move what enters each kink: root mean square, by name.

    A kink is best smoothed over about what the attacker can cross: sharper, and descent does not see it; smoother, and
    it is another network. Measured between random images and the same images perturbed, always the same for a network
    and a ball, so that no image's result depends on its batch.

    Args:
        model: in evaluation mode.
        threat: the ball.
        shape: of an image, C×H×W.
        like: a tensor of the device and type wanted.
    """
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.rand(PROBES, *shape, generator=generator, dtype=torch.float64).to(like) for _ in range(2))
    entered: dict[str, list[Tensor]] = defaultdict(list)
    names: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, (*KINKED, nn.MaxPool2d))
    }

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # A copy: an activation in place changes what it is given.
        entered[names[module]].append(inputs[0].detach().clone())

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        with torch.no_grad():
            model(torch.cat([clean, threat.scatter(clean, 2 * noise - 1)]))
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, calls in entered.items():
        moved = torch.stack([(values[PROBES:] - values[:PROBES]).double().square().mean() for values in calls])
        found[name] = max(float(moved.mean().sqrt()), torch.finfo(torch.float32).eps)
    aliases = {name: names[module] for name, module in model.named_modules(remove_duplicate=False) if module in names}
    return {name: found[first] for name, first in aliases.items() if first in found}
