"""Conventions of other codes for weight files: keys that contain the weights, prefixes, and names of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import TypeVar

T = TypeVar("T")

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state")
"""Keys under which other codes save the weights: Lightning and RobustAGA, PyTorch's tutorials, CURE, ART."""

DIALECTS: tuple[Mapping[str, str], ...] = (
    {
        "conv11": "features.0",
        "conv12": "features.2",
        "conv21": "features.5",
        "conv22": "features.7",
        "fc1": "classifier.1",
        "fc2": "classifier.3",
    },
    {"shortcut": "downsample", "linear": "fc"},
)
"""Parts of names and their counterparts here: the LeNet of RobustAGA, and kuangliu's ResNets for CIFAR-10."""


def shared_prefix(names: Iterable[str]) -> str:
    """The leading parts common to all names, each followed by a dot, e.g. ``model.``; or the empty string."""
    parents = [name.split(".")[:-1] for name in names]
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return "".join(f"{parts[0]}." for parts in common)


def without_prefix(named: Mapping[str, T]) -> dict[str, T]:
    """The same values under names without their common prefix."""
    prefix = shared_prefix(named)
    return {name.removeprefix(prefix): value for name, value in named.items()}


def translated(named: Mapping[str, T], wanted: Iterable[str]) -> dict[str, T]:
    """The same values under the names ``wanted``, if one dialect translates to exactly these; else without prefix.

    Args:
        named: weights by their names in a file.
        wanted: the names of a network's weights, without their prefix.
    """
    plain, names = without_prefix(named), set(wanted)
    for dialect in ({}, *DIALECTS):
        renamed = {_renamed(name, dialect): value for name, value in plain.items()}
        if set(renamed) == names and len(renamed) == len(plain):
            return renamed
    return plain


def _renamed(name: str, dialect: Mapping[str, str]) -> str:
    return ".".join(dialect.get(part, part) for part in name.split("."))
