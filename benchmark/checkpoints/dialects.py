"""Conventions of other codes for weight files: prefixes, wrappers, names of layers, what lies beside weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import TypeVar

T = TypeVar("T")

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
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch puts into names, anywhere: of networks in parallel, compiled, sharded, and with checkpoints."""
COUNTERS = ("n_averaged", "num_batches_tracked", "num_updates", "decay", "initted", "step")
"""Last parts of names beside the weights that count something: of ``AveragedModel`` and other averages."""
CRITERIA = ("criterion", "loss", "loss_fn", "loss_func", "loss_function")
"""Parts of names of a training loss, which a network does not use when it is evaluated."""
MEANS = ("mean", "new_mean", "mu", "means", "pixel_mean", "_mean")
STDS = ("std", "new_std", "sigma", "stds", "pixel_std", "_std")
"""Last parts of the names of a normalisation in front of a network; a pair is at the same position of both."""


def shared_prefix(names: Iterable[str]) -> str:
    """The leading parts common to all names, each followed by a dot, e.g. ``model.``; or the empty string."""
    parents = [name.split(".")[:-1] for name in names]
    common = takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return "".join(f"{parts[0]}." for parts in common)


def without_prefix(named: Mapping[str, T]) -> dict[str, T]:
    """The same values under names without their common prefix."""
    prefix = shared_prefix(named)
    return {name.removeprefix(prefix): value for name, value in named.items()}


def translations(names: Iterable[str], wanted: Iterable[str]) -> list[dict[str, str]]:
    """By every dialect the names of a file and what they are here, without parts of wrappers that are not wanted.

    Args:
        names: of weights in a file.
        wanted: the names of a network's weights.
    """
    names, parts = list(names), {part for name in wanted for part in name.split(".")}
    wrappers = set(WRAPPERS) - parts
    return [
        {name: ".".join(dialect.get(part, part) for part in name.split(".") if part not in wrappers) for name in names}
        for dialect in ({}, *DIALECTS)
    ]


def is_beside(name: str, count: int) -> bool:
    """Whether a tensor of ``count`` numbers is a counter or of a training loss, which evaluation does not need."""
    parts = name.split(".")
    return (parts[-1] in COUNTERS and count == 1) or any(part in CRITERIA for part in parts[:-1])
