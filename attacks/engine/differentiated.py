"""The network that an attack differentiates: the scored one, or a smoothed model that shares all its weights."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from attrobust.networks.kinks import SmoothActivation
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothed import PIECEWISE_LINEAR, is_smooth, smooth_activation_model, smooth_pooling_model
from attrobust.threat import ThreatModel

PROBES = 8
"""Number of random images that activation displacements are measured with."""


class SmoothedModel:
    """A network to be differentiated; where it is a smoothed model, its temperatures can be lowered.

    Attributes:
        network: the scored network or a smoothed model, in evaluation mode.
    """

    def __init__(self, network: nn.Module, replaced: dict[nn.Module, float]) -> None:
        self.network = network
        self._replaced = replaced

    def cool(self, factor: float) -> None:
        """Divide the first temperature of every smoothed module by ``factor``."""
        for module, first in self._replaced.items():
            if isinstance(module, LogSumExpPool):
                module.inverse_temperature = factor * first
            elif isinstance(module, (nn.Softplus, SmoothActivation)):
                module.beta = factor * first


def smoothed_model(
    model: nn.Module,
    displacements: dict[str, float],
    *,
    beta: float | None,
    pool: float | None,
    inverse_temperature: float,
) -> SmoothedModel:
    """A smoothed model: softplus for ReLU, sums of softplus for its like, and log-sum-exp for max-pooling.

    Args:
        model: a network whose activations are modules; smooth ones are kept.
        reach: activation displacement by name of module, see ``activation_displacements``.
        beta: one over the temperature of the softplus; None for ``inverse_temperature / reach`` of each layer.
        pool: the same for log-sum-exp; 0 keeps max-pooling.
        inverse_temperature: one over the temperature, in units of one over the activation displacement.
    """
    network = model if is_smooth(model) else smooth_activation_model(model, 1.0)
    network = network if pool == 0 else smooth_pooling_model(network, 1.0)
    if network is model:
        return SmoothedModel(model, {})
    before = dict(model.named_modules(remove_duplicate=False))
    replaced: dict[nn.Module, float] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if type(module) is type(before[name]):
            continue
        fixed = pool if isinstance(module, LogSumExpPool) else beta
        if isinstance(module, (LogSumExpPool, nn.Softplus, SmoothActivation)):
            # A module that is never called has no activation displacement; any temperature will do.
            replaced[module] = inverse_temperature / displacements.get(name, 1.0) if fixed is None else fixed
    smoothed = SmoothedModel(network, replaced)
    smoothed.cool(1.0)
    return smoothed


def activation_displacements(
    model: nn.Module, threat: ThreatModel, shape: torch.Size, like: Tensor
) -> dict[str, float]:
    """Activation displacement: root mean square change of each activation's input under random perturbations, by name.

    A kink is best smoothed over about the distance that an attacker can move its input: at lower temperatures descent
    does not see it, at higher ones the smoothed model is too far from the network. The change is measured between fixed
    random images and the same images perturbed within the ball, so that no image's result depends on its batch. It
    covers piecewise linear activations and max-pooling.

    Args:
        model: in evaluation mode.
        threat: the ball.
        shape: of an image, C×H×W.
        like: a tensor with the device and dtype to compute with.
    """
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.rand(PROBES, *shape, generator=generator, dtype=torch.float64).to(like) for _ in range(2))
    entered: dict[str, list[Tensor]] = defaultdict(list)
    names: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, (*PIECEWISE_LINEAR, nn.MaxPool2d))
    }

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # A copy, since an in-place activation overwrites its input.
        entered[names[module]].append(inputs[0].detach().clone())

    handles = [module.register_forward_pre_hook(note) for module in names]
    try:
        with torch.no_grad():
            model(torch.cat([clean, threat.scatter(clean, 2 * noise - 1)]))
    finally:
        for handle in handles:
            handle.remove()
    displacement = {}
    for name, calls in entered.items():
        squares = torch.stack([(values[PROBES:] - values[:PROBES]).double().square().mean() for values in calls])
        displacement[name] = max(float(squares.mean().sqrt()), torch.finfo(torch.float32).eps)
    aliases = {name: names[module] for name, module in model.named_modules(remove_duplicate=False) if module in names}
    return {name: displacement[first] for name, first in aliases.items() if first in displacement}
