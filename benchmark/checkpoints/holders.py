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
    states = dict(_states(held))
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


def _states(held: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    if is_state(held):
        yield place, held
    elif isinstance(held, Mapping) and depth < DEPTH:
        for key, value in held.items():
            if isinstance(key, str) and not key.startswith("optim"):
                yield from _states(value, f"{place}.{key}" if place else key, depth + 1)


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
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, Tensor) or any(map(_has_tensors, inside))


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
