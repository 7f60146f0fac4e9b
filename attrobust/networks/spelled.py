"""Activations and max-poolings that a network calls as functions: ``F.relu(x)`` in the place of ``nn.ReLU()(x)``.

The same network can be written both ways, also in parts. What is done with modules must be done with functions too, or
the spelling decides numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.networks.findings import remembered
from attrobust.networks.function_mode import FunctionMode
from attrobust.networks.known import is_known
from attrobust.networks.smoothed import PIECEWISE_LINEAR, computes_as, shared_copy

Note = Callable[[int, nn.Module, Tensor], object]
"""Called with the number of a call in the pass, its module and its input."""

RELU: set[Callable[..., Any]] = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_CLAMP: set[Callable[..., Any]] = {
    *(torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clip, torch.clip_, Tensor.clip, Tensor.clip_),
    *(torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_),
}


def max_pool(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> nn.Module:
    """The module of a call of ``torch.nn.functional.max_pool2d``, from its settings."""
    return nn.MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)


def _clamp(min: Any = None, max: Any = None) -> nn.Module | None:
    """An activation where the lower bound is the number zero; other bounds guard divisions and logarithms."""
    if isinstance(min, Tensor) or isinstance(max, Tensor) or min != 0 or (max is not None and max <= 0):
        return None
    return nn.ReLU() if max is None else nn.Hardtanh(0.0, float(max))


def _prelu(weight: Tensor) -> nn.Module:
    module = nn.PReLU(weight.numel(), device="meta")
    # Not the network's parameter itself where it is a view of one, or a plain tensor.
    del module.weight
    vars(module)["weight"] = weight
    return module


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3, *_switches: bool) -> nn.Module:
    return nn.LeakyReLU((lower + upper) / 2)


def _threshold(threshold: float, value: float, *_switches: bool) -> nn.Module:
    return nn.ReLU() if threshold == value == 0 else nn.Threshold(threshold, value)


MODULES: dict[Callable[..., Any], Callable[..., nn.Module | None]] = {
    **dict.fromkeys(RELU, nn.ReLU),
    **dict.fromkeys(_CLAMP, _clamp),
    **dict.fromkeys((F.relu6,), nn.ReLU6),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), nn.Hardtanh),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), nn.LeakyReLU),
    **dict.fromkeys((F.hardswish,), nn.Hardswish),
    **dict.fromkeys((F.hardsigmoid,), nn.Hardsigmoid),
    **dict.fromkeys((F.threshold, F.threshold_, torch.threshold), _threshold),  # type: ignore[attr-defined]
    **dict.fromkeys((F.prelu, torch.prelu), _prelu),
    F.rrelu: _rrelu,
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), max_pool),
}
"""Functions with kinks, and what makes the module that computes the same of their settings; None for no activation."""
_NO_SETTING = ("input", "inplace", "training", "return_indices")


@dataclass(frozen=True)
class Call:
    """A call of a function of torch.

    Attributes:
        function: the function or method.
        args, settings: its positional and keyword arguments; the input is the first of ``args``.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    settings: dict[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Call:
        """A call as it was written, with the input in its place where it has a name."""
        if not args and function in MODULES and "input" in settings:
            return cls(function, (settings["input"],), {key: settings[key] for key in settings if key != "input"})
        return cls(function, args, settings)

    @property
    def module(self) -> nn.Module | None:
        """The module that computes the same; None where the function has no kink."""
        make = MODULES.get(self.function)
        if make is None or not self.args or not _is_float(self.args[0]):
            return None
        if self.settings.get("return_indices") or "out" in self.settings:
            return None
        return make(*self.args[1:], **{key: self.settings[key] for key in self.settings if key not in _NO_SETTING})

    @property
    def is_in_place(self) -> bool:
        """Whether it overwrites its input."""
        name = getattr(self.function, "__name__", "")
        return bool(self.settings.get("inplace", False)) or (name.endswith("_") and not name.endswith("__"))

    def run(self) -> Any:
        """What the function returns."""
        return self.function(*self.args, **self.settings)


def _is_float(x: object) -> bool:
    """Whether it may depend on an image by a derivative; integers are places and sizes."""
    return isinstance(x, Tensor) and x.is_floating_point()


class Calls(FunctionMode):
    """Goes through the calls of functions with kinks, outside of modules that make such calls.

    Args:
        replaced: what a call returns, from its number in the pass, its module and the call.
    """

    def __init__(self, replaced: Callable[[int, nn.Module, Call], Any]) -> None:
        super().__init__()
        self._replaced = replaced
        self.number = 0
        self.inside = 0

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Hand the calls on."""
        call = Call.of(func, args, settings)
        module = None if self.inside else call.module
        if module is None:
            return call.run()
        self.number += 1
        return self._replaced(self.number - 1, module, call)


@contextmanager
def function_calls_noted(network: nn.Module, note: Note) -> Iterator[None]:
    """Inside the block, ``note`` is called before every function with a kink that no activation module calls.

    Args:
        network: whose passes are watched, on this thread; numbers of calls go on from one pass to the next.
        note: see ``Note``.
    """

    def noted(number: int, module: nn.Module, call: Call) -> Any:
        note(number, module, call.args[0])
        return call.run()

    watch = Calls(noted)

    def enter(_module: nn.Module, _inputs: object) -> None:
        watch.inside += 1

    def leave(_module: nn.Module, _inputs: object, _output: object) -> None:
        watch.inside -= 1

    modules = [module for module in network.modules() if computes_as(module, (*PIECEWISE_LINEAR, nn.MaxPool2d))]
    handles = [module.register_forward_pre_hook(enter, prepend=True) for module in modules]
    handles += [module.register_forward_hook(leave, always_call=True) for module in modules]
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


def function_kinks(network: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Kinds of the modules that a network writes as functions, in the order of their calls, e.g. ``("ReLU",)``.

    Args:
        network: any; its mode does not matter.
        x: images, B×C×H×W; the first is sent through a copy that evaluates.
    """

    def find() -> tuple[str, ...]:
        copied, found = shared_copy(network).eval(), list[str]()
        if is_known(copied):
            return ()
        with torch.no_grad(), function_calls_noted(copied, lambda _n, module, _x: found.append(type(module).__name__)):
            # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
            copied.forward(x[:1].detach())
        return tuple(found)

    return () if is_known(network) else remembered(network, x, "functions with kinks", find)
