"""Copies of networks and of other objects that hold tensors, whatever was computed with them before."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from attrobust.networks.function_mode import FunctionMode
from attrobust.process import modes

T = TypeVar("T")


def independent_copy(value: T, shared: dict[int, object] | None = None) -> T:
    """A deep copy of a network, or of a component's settings.

    Tensors of an earlier pass that it keeps, which ``copy.deepcopy`` refuses, are copied without their graph, and those
    made in inference mode as ordinary ones. So the copy is the same whatever the value was used for before.

    Args:
        value: what is copied.
        shared: by the id of an object, what the copy has in its place.

    Raises:
        ValueError: the value has attributes that cannot be copied.
    """
    try:
        with modes(), _Detached():
            return copy.deepcopy(value, shared)
    except Exception as error:  # whatever the author's attributes raise
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{type(value).__name__} cannot be copied ({problem}), as is needed here") from error


class _Detached(FunctionMode):
    """Copies tensors that ``copy.deepcopy`` cannot."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run every call but those that copy a part of a graph or a tensor made in inference mode."""
        if func is not Tensor.__deepcopy__ or (args[0].is_leaf and not args[0].is_inference()):
            return func(*args, **settings)
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone()
        return memo[id(tensor)]


def without_inference(model: nn.Module) -> nn.Module:
    """The network, or an ordinary copy of one that was made in inference mode and could not be differentiated."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return independent_copy(model) if any(tensor.is_inference() for tensor in tensors) else model
