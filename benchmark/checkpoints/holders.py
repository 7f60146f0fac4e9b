"""State dicts in what a file holds: under which keys they lie, and which of them is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from attrobust.benchmark.checkpoints.reading import read_file
from attrobust.types import UsageError

State = Mapping[str, Tensor]
AVERAGED = re.compile(r"(^|_)(ema|swa|avg|averaged?|shadow|polyak)(_|$)")
"""Keys under which averages of weights over the training are kept."""
DEPTH = 4
"""Keys that may lead to a state dict."""
MOST = 2_000
"""Dicts that are looked into: one that a file refers to a hundred times is a hundred, and so are those in it."""


def read_states(path: Path, key: str = "") -> tuple[dict[str, State], str]:
    """The state dicts in a file by the keys that lead to them, joined by dots, and the sha256 of the file.

    Args:
        path: of the file.
        key: the only one that is meant, or a prefix of the names in one; empty for all there are.

    Returns:
        The state dicts, with an empty one for averaged weights that are none, and the sha256.

    Raises:
        UsageError: as ``read_file``, no state dict, or none under the key.
    """
    held, sha256 = read_file(path)
    states = dict(_states(held, path))
    if not states:
        raise UsageError(f"{path} holds no state dict ({_what(held)}); save one: torch.save(model.state_dict(), NEW)")
    if key:
        return {key: _under(key, states, path)}, sha256
    for place in _averages(held):
        if not any(where == place or where.startswith(f"{place}.") for where in states):
            states[place] = {}
    return states, sha256


def read_weights(path: Path) -> tuple[State, str]:
    """The one state dict in a file and the sha256 of the file; raises UsageError as ``read_states``, or for several."""
    states, sha256 = read_states(path)
    if len(states) > 1:
        raise UsageError(f"{path} holds {len(states)} state dicts; save the one that is meant")
    return next(iter(states.values())), sha256


def _states(held: Any, path: Path) -> Iterator[tuple[str, State]]:
    """State dicts by the keys that lead to them, in the order of the file."""
    left: list[tuple[str, Any, int]] = [("", held, 0)]
    looked_into = 0
    while left:
        place, value, depth = left.pop()
        if is_state(value):
            yield place, value
        elif isinstance(value, Mapping) and depth < DEPTH:
            inside = [(key, item) for key, item in value.items() if isinstance(key, str) and isinstance(item, Mapping)]
            looked_into += len(inside)
            if looked_into > MOST:
                raise UsageError(f"{path} holds more than {MOST:,} dicts; save model.state_dict() alone")
            left += [
                (f"{place}.{key}" if place else key, item, depth + 1)
                for key, item in reversed(inside)
                if not key.startswith("optim")
            ]


def is_state(value: Any) -> bool:
    """Whether a value is a state dict: tensors by name."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def _averages(held: Any) -> list[str]:
    """The keys of a file whose names say that averaged weights are under them, where tensors are."""
    keys = list(held) if isinstance(held, Mapping) and not is_state(held) else []
    return [key for key in keys if isinstance(key, str) and AVERAGED.search(key.lower()) and _has_tensors(held[key])]


def _has_tensors(value: Any) -> bool:
    """Whether tensors are anywhere inside; what is referred to several times, or by itself, is looked into once."""
    left, seen = [value], {id(value)}
    while left:
        item = left.pop()
        if isinstance(item, Tensor):
            return True
        inside = item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else ()
        new = [part for part in inside if id(part) not in seen]
        seen.update(map(id, new))
        left += new
    return False


def _under(key: str, states: Mapping[str, State], path: Path) -> State:
    """The state dict of a key, or the part of one whose names begin with it, without that beginning."""
    for place, state in states.items():
        if key == place:
            return state
        prefix = f"{key.removeprefix(f'{place}.') if place else key}."
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if part and (not place or key.startswith(f"{place}.")):
            return part
    there = ", ".join(repr(place) for place in states if place) or "weights without a key"
    raise UsageError(f"{path} holds no weights under {key!r}; there are: {there}")


def _what(held: Any) -> str:
    if not isinstance(held, Mapping):
        return f"it is a {type(held).__name__}"
    return f"its keys: {', '.join(map(str, list(held)[:5]))}" if held else "it is an empty dict"
