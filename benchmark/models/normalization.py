"""Normalisation constants by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Normalization = Literal["data", "imagenet", "cifar10", "half", "none"]
"""``data`` stands for the constants of the dataset in use; the others are those of ``CONSTANTS``."""

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, in pixel units."""

CONSTANTS: dict[str, Constants] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Mean and std by name; a single number holds for all channels."""


def constants(name: str, channels: int) -> Constants:
    """Mean and standard deviation per channel; raises ValueError where the images have another number of channels."""
    mean, std = (values * channels if len(values) == 1 else values for values in CONSTANTS[name])
    if len(mean) != channels:
        raise ValueError(f"normalize={name} is for images of {len(mean)} channels, these have {channels}")
    return mean, std


def name_of(mean: Sequence[float], std: Sequence[float]) -> str:
    """The name of given constants; raises ValueError where they have none."""
    for name in CONSTANTS:
        named = constants(name, len(mean)) if len(CONSTANTS[name][0]) in (1, len(mean)) else ((), ())
        if (tuple(mean), tuple(std)) == named:
            return name
    raise ValueError(f"its normalisation, {describe(mean, std)}, is none of {', '.join(CONSTANTS)}")


def describe(mean: Sequence[float], std: Sequence[float]) -> str:
    """The constants in words."""
    return f"mean {_numbers(mean)} and std {_numbers(std)}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
