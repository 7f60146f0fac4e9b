"""How tuples of a pickle lie in each other, found out without reading it.

A dictionary hashes its keys, and the hash of a tuple is that of its parts, each as often as it is in it. With enough
tuples in each other the interpreter runs out of its stack; with few, each twice in the next, hashing never ends.
"""

from __future__ import annotations

import io
import pickletools
from contextlib import suppress
from typing import Any, NamedTuple

DEEPEST = 1000
"""Tuples in each other; those of weights are in two or three."""
LARGEST = 10_000_000
"""Parts of a tuple and of those in it, counted as often as they are in it."""
PICKLES = 5
"""In a file of PyTorch before 1.6: a number, a version, facts of the machine, the weights, and their keys."""
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
STORED = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
FETCHED = ("GET", "BINGET", "LONG_BINGET")


class Nested(NamedTuple):
    """How deep and how large a tuple is; other objects are no tuples in each other."""

    depth: int = 0
    size: int = 1


PLAIN = Nested()


def is_nested(data: bytes) -> bool:
    """Whether tuples of the pickles that a file begins with are deeper or larger than those of weights ever are.

    Of what is no pickle nothing is said: whoever reads it does.
    """
    file = io.BytesIO(data)
    with suppress(Exception):  # pickletools raises errors of several classes for what is no pickle.
        return any(_is_nested(file) for _ in range(PICKLES))
    return False


def _is_nested(file: io.BytesIO) -> bool:
    """Go through one pickle as its reader would, with what is known of each object in its place."""
    stack: list[Nested] = []
    marks: list[int] = []
    memo: dict[Any, Nested] = {}
    for op, argument, _ in pickletools.genops(file):
        if op.name in STORED:
            memo[len(memo) if op.name == "MEMOIZE" else argument] = stack[-1]
            continue
        if op.name == "MARK":
            marks.append(len(stack))
            continue
        if pickletools.markobject in op.stack_before:
            start = marks.pop() - op.stack_before.index(pickletools.markobject)
        else:
            start = len(stack) - len(op.stack_before)
        parts, stack[start:] = stack[start:], []
        found = _around(parts) if op.name in TUPLES else memo.get(argument, PLAIN) if op.name in FETCHED else PLAIN
        if found.depth > DEEPEST or found.size > LARGEST:
            return True
        stack += [found] * len(op.stack_after)
    return False


def _around(parts: list[Nested]) -> Nested:
    """The tuple of these parts."""
    return Nested(1 + max((part.depth for part in parts), default=0), 1 + sum(part.size for part in parts))
