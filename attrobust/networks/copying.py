"""Copies of networks and of other objects that hold tensors, whatever was computed with them before."""

from __future__ import annotations

import copy
import copyreg
import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from attrobust.naming.safe import first_line
from attrobust.networks.function_mode import FunctionMode
from attrobust.process import modes

T = TypeVar("T")

_ATOMS = (type(None), bool, int, float, str, type)
_CONTAINERS = (dict, OrderedDict, set, list)
_TABLES = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that hold its tensors and parts."""


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
            memo: dict[int, object] = {} if shared is None else shared
            if isinstance(value, nn.Module):
                _copy_modules(value, memo)
            return copy.deepcopy(value, memo)
    except Exception as error:  # whatever the author's attributes raise
        problem = first_line(error)
        raise ValueError(f"{type(value).__name__} cannot be copied ({problem}), as is needed here") from error


def _copy_modules(model: nn.Module, memo: dict[int, object]) -> None:
    """Enter copies of a network's modules into the memo of ``copy.deepcopy``, which would make the same ones slowly.

    Nothing is entered where a module says itself how it is copied, or is in the memo already.
    """
    modules = list(model.modules())
    kinds: set[Any] = set(map(type, modules))
    if not all(map(_plain, kinds)) or any(id(module) in memo for module in modules):
        return
    copies: list[nn.Module] = [object.__new__(type(module)) for module in modules]
    memo.update((id(module), made) for module, made in zip(modules, copies, strict=True))
    # Parts before what contains them, so that no state is set that refers to an empty module.
    for module, made in reversed(list(zip(modules, copies, strict=True))):
        state: dict[str, Any] = cast(Any, module).__getstate__()
        cast(Any, made).__setstate__({name: _copied(name, value, memo) for name, value in state.items()})


def _copied(name: str, value: Any, memo: dict[int, object]) -> Any:
    """A copy of an attribute, quickly for those that every module has."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) not in memo:
        if kind in _CONTAINERS and not value:
            memo[id(value)] = kind()
        elif kind is dict and name in _TABLES:
            memo[id(value)] = {
                key: memo[id(part)] if id(part) in memo else copy.deepcopy(part, memo) for key, part in value.items()
            }
    return memo[id(value)] if id(value) in memo else copy.deepcopy(value, memo)


@functools.cache
def _plain(kind: Any) -> bool:
    """Whether a copy of a module is an object of its class whose state is a copy of its attributes."""
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__new__ is object.__new__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and not copyreg._slotnames(kind)  # type: ignore[attr-defined]
        and all(_of_torch(getattr(kind, name)) for name in ("__getstate__", "__setstate__"))
    )


def _of_torch(method: Any) -> bool:
    """Whether a method is that of ``object`` or of a layer of torch."""
    return method is getattr(object, method.__name__, None) or method.__module__.startswith("torch.nn.modules.")


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
