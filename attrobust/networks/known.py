"""Networks whose parts and order of calls are known from their classes, so that copies of them need no trial.

A trial shows what a network did for one image and one of noise. For layers of torch one after the other, and for
networks of attrobust, what it would show follows from the code: each module is called once a pass, on images that do
not mix, and nothing is kept, switched or read from elsewhere. This is decided anew at every call, from the network as
it is then.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from torch import nn

from attrobust.networks.smoothed import OPERATIONS, SMOOTH

M = TypeVar("M", bound=type[nn.Module])

_CONVOLUTIONS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid)
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)

_FORWARD: dict[type[nn.Module], Callable[..., Any]] = {
    kind: kind.forward for kind in (nn.Sequential, *_CONVOLUTIONS, *_POOLS, *_KINKED, *_PASSING, *SMOOTH, *OPERATIONS)
}
"""Classes, and their forward passes as they were when this module was imported."""
_CALL = nn.Module.__call__


def calls_each_part_once(kind: M) -> M:
    """Decorator of a network's class whose forward pass calls each of its modules once.

    The pass computes image by image, has no other activation or max-pooling, reads nothing that changes, and writes to
    nothing.
    """
    _FORWARD[kind] = kind.forward
    return kind


def is_known(model: nn.Module) -> bool:
    """Whether every module is of a known class, in evaluation mode, called once, and as its class made it.

    Hooks of the network itself may be set, since they are called by copies of it too.
    """
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if id(module) in seen or not _as_made(module) or (module is not model and _is_hooked(module)):
            return False
        seen.add(id(module))
        waiting.extend(part for part in module._modules.values() if part is not None)
    return True


def _as_made(module: nn.Module) -> bool:
    kind, attributes = type(module), vars(module)
    if _FORWARD.get(kind) is not kind.forward or kind.__call__ is not _CALL:
        return False
    if module.training or attributes.get("inplace") or attributes.get("return_indices"):
        return False
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        return False  # It takes the statistics of the batch.
    if isinstance(module, nn.Flatten) and module.start_dim != 1:
        return False
    # A function, or a module that is no part, in the place of a part or of a method.
    return not any(isinstance(value, (FunctionType, nn.Module)) for value in attributes.values())


def _is_hooked(module: nn.Module) -> bool:
    return any(value for name, value in vars(module).items() if name.endswith("_hooks"))
