"""The network that an attack differentiates: the scored one, or a smoothed model that shares all its weights."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from attrobust.networks.kinks import SmoothActivation
from attrobust.networks.passes import once_a_batch
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smooth_calls import SmoothedFunctions
from attrobust.networks.smoothed import (
    PIECEWISE_LINEAR,
    computes_as,
    is_smooth,
    smooth_activation_model,
    smooth_pooling_model,
)
from attrobust.networks.spelled import function_calls_noted
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
        """Divide the first temperature of everything smoothed by ``factor``."""
        if isinstance(self.network, SmoothedFunctions):
            self.network.factor = factor
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
    functions: int = 0,
) -> SmoothedModel:
    """A smoothed model: softplus for ReLU, sums of softplus for its like, and log-sum-exp for max-pooling.

    Args:
        model: a network; smooth activations are kept.
        displacements: by name of module or number of call, see ``activation_displacements``.
        beta: one over the temperature of the softplus; None for ``inverse_temperature / reach`` of each layer.
        pool: the same for log-sum-exp; 0 keeps max-pooling.
        inverse_temperature: one over the temperature, in units of one over the activation displacement.
        functions: how many activations and max-poolings it calls as functions, see ``function_kinks``.
    """

    def first(name: str, fixed: float | None) -> float:
        # What is never called has no activation displacement; any temperature will do.
        return inverse_temperature / displacements.get(name, 1.0) if fixed is None else fixed

    network = model if is_smooth(model) else smooth_activation_model(model, 1.0)
    network = network if pool == 0 else smooth_pooling_model(network, 1.0)
    before = dict(model.named_modules(remove_duplicate=False))
    replaced: dict[nn.Module, float] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if type(module) is not type(before[name]) and isinstance(
            module, (LogSumExpPool, nn.Softplus, SmoothActivation)
        ):
            replaced[module] = first(name, pool if isinstance(module, LogSumExpPool) else beta)
    if functions:
        names = [call_name(number) for number in range(functions)]
        pools = None if pool == 0 else [first(name, pool) for name in names]
        network = SmoothedFunctions(network, [first(name, beta) for name in names], pools)
    elif network is model:
        return SmoothedModel(model, {})
    smoothed = SmoothedModel(network, replaced)
    smoothed.cool(1.0)
    return smoothed


def activation_displacements(
    model: nn.Module, threat: ThreatModel, shape: torch.Size, like: Tensor
) -> dict[str, float]:
    """Activation displacement: root mean square change of each activation's input under random perturbations, by name.

    Those that are called as functions have the name of their call, see ``call_name``.

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
    names: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if computes_as(module, (*PIECEWISE_LINEAR, nn.MaxPool2d))
    }

    def inputs(images: Tensor) -> dict[str, list[Tensor]]:
        """By name, what entered in each call. A copy, since an in-place activation overwrites its input."""
        entered: dict[str, list[Tensor]] = defaultdict(list)

        def note(module: nn.Module, values: tuple[Tensor, ...]) -> None:
            entered[names[module]].append(values[0].detach().clone())

        def note_function(number: int, _module: nn.Module, values: Tensor) -> None:
            entered[call_name(number)].append(values.detach().clone())

        handles = [module.register_forward_pre_hook(note) for module in names]
        try:
            with torch.no_grad(), once_a_batch(), function_calls_noted(model, note_function):
                model(images)
        finally:
            for handle in handles:
                handle.remove()
        return entered

    # Two passes, since images need not lie along the first axis inside a network.
    before, after = inputs(clean), inputs(threat.scatter(clean, 2 * noise - 1))
    displacement = {}
    for name, calls in before.items():
        pairs = zip(calls, after.get(name, ()), strict=False)
        squares = [(moved - values).double().square().mean() for values, moved in pairs if moved.shape == values.shape]
        if squares:
            displacement[name] = max(float(torch.stack(squares).mean().sqrt()), torch.finfo(torch.float32).eps)
    aliases = {name: names[module] for name, module in model.named_modules(remove_duplicate=False) if module in names}
    return displacement | {name: displacement[first] for name, first in aliases.items() if first in displacement}


def call_name(number: int) -> str:
    """What a call of an activation or a max-pooling as a function is called among displacements."""
    return f"call {number} of a function"
