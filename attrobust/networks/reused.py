"""Activations and max-poolings that a network calls several times in a pass, as blocks of torchvision's ResNet do.

A network with a module for each call is the same network, and is attacked alike. A smoothed model has a temperature for
each call, so a module that is called again is taken for a function that is called.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.networks.findings import remembered
from attrobust.networks.known import is_known
from attrobust.networks.smoothed import PIECEWISE_LINEAR, computes_as, replace_modules, shared_copy


def calls_apart(network: nn.Module, x: Tensor) -> nn.Module:
    """A copy that calls as functions what it calls several times; the network itself where it calls nothing again.

    Args:
        network: any; it is unchanged, and the copy shares all tensors.
        x: images, B×C×H×W; the first is sent through a copy that evaluates.
    """
    if is_known(network):
        return network
    names = remembered(network, x, "modules with kinks that are called again", lambda: _called_again(network, x))
    if not names:
        return network
    apart = shared_copy(network)
    again = {apart.get_submodule(name) for name in names}
    replace_modules(apart, lambda module: Called(module) if module in again else None)
    return apart


def _called_again(network: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Names of the modules."""
    copied, calls = shared_copy(network).eval(), Counter[str]()
    for name, module in copied.named_modules():
        if computes_as(module, (*PIECEWISE_LINEAR, nn.MaxPool2d)):
            module.register_forward_pre_hook(lambda _module, _inputs, name=name: calls.update([name]))
    with torch.no_grad():
        # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
        copied.forward(x[:1].detach())
    return tuple(name for name, count in calls.items() if count > 1)


class Called(nn.Module):
    """What a module computes, by the function that it calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = (module,)
        """In a tuple, so that it is not found among the network's activations."""

    def forward(self, x: Tensor) -> Any:
        """What the module gives."""
        (module,) = self.module
        return module.forward(x)
