"""What other codes call the same weights: the wrappings of their files, the prefixes and the names of their layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import TypeVar

T = TypeVar("T")

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state")
"""Keys under which training codes keep the weights: Lightning and RobustAGA, recipes of PyTorch, CURE, ART."""

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
"""Parts of names and what they are called here: the LeNet of RobustAGA, the ResNets written for CIFAR-10 (kuangliu)."""


def shared_prefix(names: Iterable[str]) -> str:
    """The leading parts that all names have in common, with the dot after them: ``model.`` or the empty string."""
    parents = [name.split(".")[:-1] for name in names]
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return "".join(f"{parts[0]}." for parts in common)


def without_prefix(named: Mapping[str, T]) -> dict[str, T]:
    """The same values under names without what all of them start with."""
    prefix = shared_prefix(named)
    return {name.removeprefix(prefix): value for name, value in named.items()}


def translated(named: Mapping[str, T], wanted: Iterable[str]) -> dict[str, T]:
    """The same values under the names ``wanted``, where they are those of a dialect; else without their prefix.

    Args:
        named: as a file has them.
        wanted: the names of a network, without their prefix.
    """
    plain, names = without_prefix(named), set(wanted)
    for dialect in ({}, *DIALECTS):
        renamed = {_renamed(name, dialect): value for name, value in plain.items()}
        if set(renamed) == names and len(renamed) == len(plain):
            return renamed
    return plain


def _renamed(name: str, dialect: Mapping[str, str]) -> str:
    return ".".join(dialect.get(part, part) for part in name.split("."))
