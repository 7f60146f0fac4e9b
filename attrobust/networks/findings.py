"""What was found out about a network by running it, kept while only we run, and until the network changes.

Explainers try a network before they trust a rewritten copy of it: whether both compute the same, which calls are hidden
from hooks, how much a pass saves. That takes several passes, and the answer is the same at the next step of an attack.
It is kept in the block of ``steady`` only. Elsewhere a network may be changed in ways that no state shows, such as a
global variable that ``forward`` reads. Maps that are scored are computed outside, so that a network is found out there
whose calls depend on the values of its images.

Only answers are kept, never tensors, modules or copies: maps are always computed with the network as it is, and a
network that nobody else refers to is freed.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

A = TypeVar("A", int, str, tuple[str, ...])
M = TypeVar("M", bound=type[nn.Module])

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format))
_CONTAINERS = frozenset((list, tuple, dict, OrderedDict, set, frozenset, torch.Size))
_NAMED = (type, FunctionType, BuiltinFunctionType, Enum)
"""Objects that do not change."""
_AROUND = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Tables of hooks that ``forward`` passes by."""
_TEMPERATURES: dict[type[nn.Module], str] = {nn.Softplus: "beta"}
"""Attributes with numbers on which the values of a module depend, and nothing that is asked about a network."""


def has_temperature(attribute: str) -> Callable[[M], M]:
    """Decorator of a module's class, which names the attribute that attacks change at every step.

    Answers about a network hold for every number that is there, as they do for every value of the images.
    """

    def note(kind: M) -> M:
        _TEMPERATURES[kind] = attribute
        return kind

    return note


def remembered(network: nn.Module, x: Tensor, question: str, find: Callable[[], A]) -> A:
    """What ``find`` returns, or returned for this question since the network last changed.

    Args:
        network: asked about.
        x: images, B×C×H×W, whose shape, dtype and device an answer belongs to.
        question: what is asked.
        find: runs the network by ``forward``, so that the hooks of the network itself play no part; its answer must
            not depend on the values of the weights. Errors are not kept.
    """
    known = _kept.get()
    state = None if known is None else _State.of(network)
    if known is None or state is None:
        return find()
    kept = known.get(id(network))
    if kept is None or not kept.state.holds(state):
        state.alive.append(weakref.ref(network))
        kept = known[id(network)] = _Findings(state, {})
    key = (question, x.shape[1:], x.dtype, x.device)
    if key not in kept.answers:
        kept.answers[key] = find()
    return cast(A, kept.answers[key])


@contextmanager
def steady(ours: bool) -> Iterator[None]:
    """Inside the block, on this thread, answers are kept, where ``ours`` says that only code of this package runs."""
    token = _kept.set(None if not ours else {} if _kept.get() is None else _kept.get())
    try:
        yield
    finally:
        _kept.reset(token)


@dataclasses.dataclass(frozen=True)
class _State:
    """What running a network depends on, as it is now.

    Covered are its modules, their classes' ``forward``, modes and attributes, and of tensors which they are, whether
    they require grad and torch's count of changes in place. Weights changed through ``tensor.data`` are not counted.

    Attributes:
        facts: numbers, words, and the identities of objects.
        alive: references to these objects. While an object lives no other has its identity.
    """

    facts: list[object]
    alive: list[weakref.ref[Any]]

    @classmethod
    def of(cls, network: nn.Module) -> _State | None:
        """The state of a network; None where it has something in it whose changes cannot be seen."""
        state = cls([], [])
        try:
            state._note_module(network, set(), _AROUND)
        except _UnseenError:
            return None
        return state

    def holds(self, now: _State) -> bool:
        """Whether the network did not change from this state to a later one."""
        return self.facts == now.facts and all(reference() is not None for reference in self.alive)

    def _note_module(self, module: nn.Module, seen: set[int], without: tuple[str, ...] = ()) -> None:
        self._note_object(module)
        self._note_object(type(module).forward)
        if id(module) in seen:
            return
        seen.add(id(module))
        self.facts.extend(vars(module))
        temperature = _TEMPERATURES.get(type(module))
        for name, value in vars(module).items():
            if name not in without and not (name == temperature and type(value) in (int, float)):
                if name.endswith("_hooks") and isinstance(value, dict) and value:
                    raise _UnseenError  # What a hook does depends on its owner.
                self._note(value, seen)

    def _note(self, value: Any, seen: set[int]) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.facts.append(value)
        elif kind in _CONTAINERS:
            self._note_all(value, seen)
        elif isinstance(value, Tensor):
            if value.is_inference():
                raise _UnseenError
            self._note_object(value)
            self.facts.extend((value._version, value.requires_grad, value.data_ptr()))
        elif isinstance(value, nn.Module):
            self._note_module(value, seen)
        elif isinstance(value, _NAMED):
            self._note_object(value)
        elif dataclasses.is_dataclass(value) and kind.__mro__[1:] == (object,):
            self._note_object(kind)
            self._note_all(vars(value), seen)
        else:
            raise _UnseenError

    def _note_all(self, values: Any, seen: set[int]) -> None:
        self.facts.append(len(values))
        if not values or id(values) in seen:
            return
        seen.add(id(values))
        if isinstance(values, (set, frozenset)):
            if not {type(value) for value in values} <= _PLAIN:
                raise _UnseenError
            self.facts.append(frozenset(values))
            return
        items: Iterable[Any] = itertools.chain(values, values.values()) if isinstance(values, dict) else values
        for value in items:
            self._note(value, seen)

    def _note_object(self, value: object) -> None:
        self.facts.append(id(value))
        try:
            self.alive.append(weakref.ref(value))
        except TypeError:
            raise _UnseenError from None


@dataclasses.dataclass(frozen=True)
class _Findings:
    """Answers about a network in one state."""

    state: _State
    answers: dict[Hashable, Any]


class _UnseenError(Exception):
    """Something in a network whose changes cannot be seen."""


_kept: ContextVar[dict[int, _Findings] | None] = ContextVar("answers by the identity of the network", default=None)
