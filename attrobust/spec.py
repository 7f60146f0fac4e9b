"""``aga:cosd=0.1,eps=4/255`` to a frozen dataclass and back, and to a fingerprint that does not change between runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from attrobust.suggest import did_you_mean
from attrobust.types import Amount, UsageError, parse_number

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """A name and its settings as typed, not yet checked against the class.

    Attributes:
        name: registered name.
        settings: key to text.
    """

    name: str
    settings: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``name`` or ``name:key=value,key=value``; raises UsageError on anything else."""
        name, colon, rest = (part.strip() for part in text.partition(":"))
        if not name:
            raise UsageError(f"{text!r} has no name before its settings; write name:key=value")
        if colon and not rest:
            raise UsageError(f"{text!r} ends in ':'; write {name}:key=value, or {name} alone")
        settings: dict[str, str] = {}
        for item in rest.split(",") if rest else []:
            key, equals, value = (part.strip() for part in item.partition("="))
            if not (key and equals and value):
                raise UsageError(f"{item!r} in {text!r} is not key=value")
            if key in settings:
                raise UsageError(f"{key!r} is set twice in {text!r}")
            settings[key] = value
        return cls(name, settings)

    def __str__(self) -> str:
        rest = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}:{rest}" if rest else self.name


def parse_specs(text: str, what: str) -> list[Spec]:
    """Split a comma-separated list of specs: a piece ``key=value`` without a colon continues the spec before it.

    Raises:
        UsageError: an empty list, an empty piece, or the same spec twice.
    """
    pieces: list[str] = []
    for piece in text.split(","):
        if not piece.strip():
            raise UsageError(f"{what} {text!r} has an empty name; give names separated by commas")
        if "=" in piece and ":" not in piece and pieces:
            pieces[-1] += ("," if ":" in pieces[-1] else ":") + piece
        else:
            pieces.append(piece)
    specs = [Spec.parse(piece) for piece in pieces]
    for index, spec in enumerate(specs):
        if spec in specs[:index]:
            raise UsageError(f"{what} names {spec} twice")
    return specs


def build(cls: type[T], spec: Spec, defaults: Mapping[str, str] | None = None) -> T:
    """An instance of the dataclass ``cls`` from a spec.

    Args:
        cls: a dataclass whose fields are the settings.
        spec: what the user typed.
        defaults: settings used where the spec is silent (a protocol's or a recipe's), as text.

    Raises:
        UsageError: unknown setting (with a suggestion), a value of the wrong type, or one the class rejects.
    """
    fields = [item.name for item in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, text in {**(defaults or {}), **spec.settings}.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise UsageError(f"{spec.name} has no setting {key!r}.{did_you_mean(key, fields)} Its settings: {known}")
        try:
            values[key] = _convert(hints[key], text)
        except ValueError as error:
            raise UsageError(f"{spec.name}: {key}: {error}") from None
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec.name}: {error}") from None


def _convert(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    if kind is int:
        number = parse_number(text)
        if number != int(number):
            raise ValueError(f"{text!r} is not a whole number")
        return int(number)
    if kind is float:
        return parse_number(text)
    if kind is str:
        return text
    if kind is Amount:
        return Amount.parse(text)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(map(str, choices))}")
        return text
    if typing.get_origin(kind) is types.UnionType:
        if text.lower() == "none" and type(None) in typing.get_args(kind):
            return None
        (inner,) = (option for option in typing.get_args(kind) if option is not type(None))
        return _convert(inner, text)
    raise ValueError(f"a setting of type {kind} cannot be written on the command line")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Amount) else value


def settings_of(instance: Any) -> dict[str, Any]:
    """Every field of a settings dataclass as a JSON value."""
    return {item.name: _plain(getattr(instance, item.name)) for item in dataclasses.fields(instance)}


def canonical(name: str, instance: Any) -> dict[str, Any]:
    """Name and every setting, defaults included: instances with equal canonical forms compute the same thing."""
    return {"name": name, "settings": settings_of(instance)}


def fingerprint(value: Any) -> str:
    """sha256 (hex) of a JSON value with sorted keys; floats are written with every digit they need."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
