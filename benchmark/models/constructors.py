"""Settings of other packages' constructors, typed as text, and networks built with them for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from attrobust.naming.safe import first_line

Value = bool | int | float | str | None
WORDS: dict[str, Value] = {"true": True, "false": False, "none": None}


def constructor_settings(text: str) -> dict[str, Value]:
    """The settings of ``key=value,key=value``: true, false, none, whole numbers, numbers, or else text."""
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> Value:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def built_for_size(
    build: Callable[..., Any], size_settings: Sequence[dict[str, Any]], settings: dict[str, Any], name: str
) -> nn.Module:
    """A network of a package for images of a size; most are for any size, and some have to be told.

    Args:
        build: the package's function.
        size_settings: ways to say the size; the first is taken that the network knows, or none of them.
        settings: all other settings.
        name: of the network, for errors.

    Raises:
        ValueError: a setting that the network does not have, or a size that it cannot be built for.
    """
    unknown = None
    for said in (*size_settings, {}):
        try:
            network: nn.Module = build(**{**said, **settings})
            return network
        except TypeError as error:
            unknown = error
        except (ValueError, AssertionError, RuntimeError, KeyError) as error:
            said_of = f"{name} cannot be built with {_listed({**said, **settings})}"
            raise ValueError(f"{said_of}: {first_line(error)}") from error
    raise ValueError(f"{name} cannot be built with {_listed(settings)}: {unknown}")


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())
