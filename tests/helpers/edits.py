"""Edits of JSON values: something else, or nothing, at every place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Keys = tuple[str | int, ...]
GONE = object()
EDITS: list[object] = [GONE, None, "x", 12345, [], {}, True]


def places(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Of everything in a JSON value; of a list its first two."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*keys, key)
        yield from places(item, (*keys, key))


def edited(value: Any, keys: Keys, new: object) -> Any:
    """A copy with something else at a place, or without it."""
    found = inner = copy.deepcopy(value)
    for key in keys[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = new
    return found
