"""Normalisation constants, by name or in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

from attrobust.numbers import parse_number

Normalization = Literal["data", "imagenet", "cifar10", "half", "none"]
"""``data`` stands for the constants of the dataset in use; the others are those of ``CONSTANTS``. Constants themselves
may be typed in place of a name, see ``parse_normalization``."""

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, in pixel units."""

CONSTANTS: dict[str, Constants] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Mean and std by name; a single number holds for all channels."""
SAME = 2e-3
"""Difference of constants that is attributed to rounding; those of CIFAR-10 and ImageNet differ by more."""


def parse_normalization(text: str) -> Normalization:
    """A name, or mean and std with a number per channel: ``0.48+0.46+0.41/0.27+0.26+0.28``; raises ValueError."""
    names = get_args(Normalization)
    if text not in names:
        try:
            _typed(text)
        except ValueError as error:
            raise ValueError(
                f"{text!r} is not one of {', '.join(names)}, nor mean and std with a number per channel "
                f"such as 0.48+0.46+0.41/0.27+0.26+0.28 ({error})"
            ) from None
    return cast(Normalization, text)


def _typed(text: str) -> Constants:
    if text.count("/") != 1:
        raise ValueError("one / stands between them")
    mean, std = (tuple(map(parse_number, part.split("+"))) for part in text.split("/"))
    if len(mean) != len(std):
        raise ValueError(f"{len(mean)} means and {len(std)} stds")
    if min(std) <= 0:
        raise ValueError("a std is not above 0")
    return mean, std


def constants(name: str, channels: int) -> Constants:
    """Mean and standard deviation per channel; raises ValueError where the images have another number of channels."""
    known = CONSTANTS[name] if name in CONSTANTS else _typed(name)
    mean, std = (values * channels if len(values) == 1 else values for values in known)
    if len(mean) != channels:
        raise ValueError(f"normalize={name} is for images of {len(mean)} channels, these have {channels}")
    return mean, std


def text_of(mean: Sequence[float], std: Sequence[float]) -> str:
    """The setting ``normalize`` of given constants: their name, or the constants themselves."""
    for name in CONSTANTS:
        if len(CONSTANTS[name][0]) in (1, len(mean)) and (tuple(mean), tuple(std)) == constants(name, len(mean)):
            return name
    return "/".join("+".join(f"{value:.7g}" for value in values) for values in (mean, std))


def alike(first: Constants, second: Constants) -> bool:
    """Whether constants are the same up to rounding."""
    pairs = [pair for both in zip(first, second, strict=True) for pair in zip(*both, strict=False)]
    lengths = [len(values) for values in (*first, *second)]
    return len(set(lengths)) == 1 and all(abs(ours - theirs) <= SAME for ours, theirs in pairs)


def describe(mean: Sequence[float], std: Sequence[float]) -> str:
    """The constants in words."""
    return f"mean {_numbers(mean)} and std {_numbers(std)}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
