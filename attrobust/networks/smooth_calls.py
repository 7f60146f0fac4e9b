"""Networks whose functions with kinks are smooth, call by call; see ``spelled`` for what these are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.networks.findings import has_temperature
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothed import forward_hooks, smooth_activation, smooth_activation_model
from attrobust.networks.spelled import Call, Calls, function_kinks


def softplus_everywhere(model: nn.Module, x: Tensor, beta: float) -> nn.Module:
    """As ``smooth_activation_model``, also for activations that are called as functions; a smooth network is returned.

    Args:
        model: the network.
        x: images, B×C×H×W, of which the first is tried.
        beta: one over the temperature, above 0.
    """
    network = smooth_activation_model(model, beta)
    return SmoothedFunctions(network, [beta], None) if function_kinks(model, x) else network


@has_temperature("factor")
class SmoothedFunctions(nn.Module):
    """A network whose functions with kinks are smooth, call by call; its modules stay as they are.

    Args:
        network: the network, whose parts stay its own. Its hooks are called around this module, so that what calls
            ``forward`` alone goes without them.
        activations: one over the temperature of each call of an activation, in the order of calls; the last one is for
            all further calls.
        pools: the same of each max-pooling, by the same numbers; None to keep max-pooling.
    """

    def __init__(self, network: nn.Module, activations: list[float], pools: list[float] | None) -> None:
        super().__init__()
        hooks = forward_hooks(network)
        vars(self).update(hooks)
        self.network = _root_without(hooks, network)
        self.factor = 1.0
        """By which the first temperatures are divided."""
        self._activations, self._pools = activations, pools
        self.training = network.training

    def forward(self, x: Tensor) -> Any:
        """What the network gives for B×C×H×W."""
        with self.calls():
            return self.network(x)

    def calls(self) -> AbstractContextManager[object]:
        """A context in which the functions that ``network`` calls in one pass are smooth."""
        return Calls(self._smoothed)

    def _smoothed(self, number: int, module: nn.Module, call: Call) -> Any:
        smooth = self.counterpart(number, module)
        if smooth is None:
            return call.run()
        # A pack hook and an unpack hook, or None.
        packs = torch._C._autograd._top_saved_tensors_default_hooks(True)
        if packs is not None and packs[0].__module__ == "torch.utils.checkpoint":
            raise ValueError(
                f"{type(self.network).__name__} computes a part again in its backward pass, by torch.utils.checkpoint, "
                "where functions are not smooth: switch checkpoints off, or attack with differentiate=own"
            )
        x: Tensor = call.args[0]
        # A copy, since the derivative needs the value before it is overwritten.
        return x.copy_(smooth(x.clone())) if call.is_in_place else smooth(x)

    def counterpart(self, number: int, module: nn.Module) -> nn.Module | None:
        """What is smooth in the place of the call with a number, from 0, and a module; None to keep the call."""
        if not isinstance(module, nn.MaxPool2d):
            return smooth_activation(module, self.factor * _at(self._activations, number))
        return None if self._pools is None else LogSumExpPool(module, self.factor * _at(self._pools, number))


def _root_without(hooks: Iterable[str], network: nn.Module) -> nn.Module:
    """The network with tables of hooks left empty; everything in it is the network's own."""
    root = object.__new__(type(network))
    vars(root).update(vars(network) | {name: OrderedDict() for name in hooks})
    return root


def _at(values: list[float], number: int) -> float:
    return values[min(number, len(values) - 1)]
