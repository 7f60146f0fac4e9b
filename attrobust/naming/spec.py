"""Specs: parses ``aga:cosd=0.1,eps=4/255`` into a frozen dataclass, and writes its canonical form and fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from attrobust.naming.suggest import did_you_mean
from attrobust.naming.validate import hints_of
from attrobust.numbers import WHOLE, parse_number, parse_whole
from attrobust.types import Amount, Named, Settings, UsageError

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
        specs = Sweep.parse(text).specs
        if len(specs) > 1:
            raise UsageError(f"{text!r} stands for {len(specs)} settings where one is wanted; leave the braces out")
        return specs[0]

    def __str__(self) -> str:
        rest = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}:{rest}" if rest else self.name


@dataclass(frozen=True)
class Sweep:
    """One item of a list of specs: a spec, or the product of all values listed in braces.

    Attributes:
        text: as typed, ``aga:cosd={0.1,1},eps={4/255,8/255}``.
        specs: in the order typed; of several settings in braces the last changes fastest.
    """

    text: str
    specs: tuple[Spec, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """Read ``name:key=value,key={value,value}``; raises UsageError on anything else."""
        name, colon, rest = (part.strip() for part in text.partition(":"))
        if not name:
            raise UsageError(f"{text!r} has no name before its settings; write name:key=value")
        if colon and not rest:
            raise UsageError(f"{text!r} ends in ':'; write {name}:key=value, or {name} alone")
        values: dict[str, list[str]] = {}
        for item in _split(rest) if rest else []:
            key, equals, value = (part.strip() for part in item.partition("="))
            if not (key and equals and value):
                raise UsageError(f"{item!r} in {text!r} is not key=value")
            if key in values:
                raise UsageError(f"{key!r} is set twice in {text!r}")
            values[key] = _values(value, item.strip())
        if set("{}") & set("".join([name, *values])):
            raise UsageError(f"{text!r} has braces outside a value; write name:key={{a,b}}")
        specs = (Spec(name, dict(zip(values, picked, strict=True))) for picked in itertools.product(*values.values()))
        return cls(text.strip(), tuple(specs))

    @property
    def is_swept(self) -> bool:
        """Whether any value is listed in braces."""
        return "{" in self.text


def _split(text: str) -> list[str]:
    """Split at the commas outside braces; raises UsageError where braces are nested or do not pair up."""
    if re.fullmatch(r"[^{}]*(?:\{[^{}]*\}[^{}]*)*", text) is None:
        raise UsageError(f"the braces in {text!r} do not pair up; write name:key={{a,b}}")
    return re.split(r",(?![^{}]*\})", text)


def _values(text: str, item: str) -> list[str]:
    """The values of a setting: the text itself, or those listed where braces enclose all of it."""
    if not set("{}") & set(text):
        return [text]
    if not re.fullmatch(r"\{[^{}]*\}", text):
        raise UsageError(f"{item!r}: braces hold whole values, such as {{4/255,8/255}}")
    values = [value.strip() for value in text[1:-1].split(",")]
    if not all(values):
        raise UsageError(f"{item!r} has an empty value; list values separated by commas, such as {{0.1,1,10}}")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UsageError(f"{item!r} lists {value} twice")
    return values


def parse_sweeps(text: str, what: str) -> list[Sweep]:
    """Split a comma-separated list of specs: a piece ``key=value`` continues the spec before it.

    Raises:
        UsageError: an empty list, an empty piece, or the same spec twice.
    """
    pieces: list[str] = []
    for piece in _split(text):
        if not piece.strip():
            raise UsageError(f"{what} {text!r} has an empty name; give names separated by commas")
        if "=" in piece.partition(":")[0] and pieces:
            pieces[-1] += ("," if ":" in pieces[-1] else ":") + piece
        else:
            pieces.append(piece)
    sweeps = [Sweep.parse(piece) for piece in pieces]
    specs = [spec for sweep in sweeps for spec in sweep.specs]
    for index, spec in enumerate(specs):
        if spec in specs[:index]:
            raise UsageError(f"{what} names {spec} twice")
    return sweeps


def parse_specs(text: str, what: str) -> list[Spec]:
    """Every spec of a list, those in sweeps one by one; raises UsageError as ``parse_sweeps`` does."""
    return [spec for sweep in parse_sweeps(text, what) for spec in sweep.specs]


def build(cls: type[T], spec: Spec, defaults: Mapping[str, str] | None = None) -> T:
    """An instance of the dataclass ``cls`` from a spec; what its class sets or draws in the process is put back.

    Args:
        cls: a dataclass whose fields are the settings; its ``converters``, if it has any, turn the text of some of
            them into values, and its ``others`` names the field that takes all settings it has no field for.
        spec: what the user typed.
        defaults: settings used where the spec is silent (a protocol's or a recipe's), as text.

    Raises:
        UsageError: unknown setting (with a suggestion), a value of the wrong type, or one the class rejects.
    """
    fields = [item.name for item in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    hints, converters = hints_of(cls), getattr(cls, "converters", {})
    values: dict[str, Any] = {}
    for key, text in _gathered(cls, {**(defaults or {}), **spec.settings}, fields).items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise UsageError(f"{spec.name} has no setting {key!r}.{did_you_mean(key, fields)} Its settings: {known}")
        try:
            values[key] = converters[key](text) if key in converters else _convert(hints[key], text)
        except ValueError as error:
            raise UsageError(f"{spec.name}: {key}: {error}") from None
    from attrobust.process import seeded  # Not above: names are parsed without torch.

    try:
        with seeded(0):
            return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec.name}: {error}") from None


def _gathered(cls: type[Any], settings: dict[str, str], fields: Sequence[str]) -> dict[str, str]:
    """Settings, those that a class has no field for in the one that its ``others`` names, if it names one."""
    place: str = getattr(cls, "others", "")
    unknown = {key: text for key, text in settings.items() if key not in fields}
    if not place or not unknown:
        return settings
    known = {key: text for key, text in settings.items() if key in fields}
    listed = ",".join(f"{key}={text}" for key, text in sorted(unknown.items()))
    return {**known, place: ",".join(filter(None, (known.get(place, ""), listed)))}


def _convert(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    if kind is int:
        if WHOLE.fullmatch(text.strip()):
            return parse_whole(text)
        number = parse_number(text)
        if number != int(number):
            raise ValueError(f"{text!r} is not a whole number")
        return parse_whole(str(int(number)))
    if kind is float:
        return parse_number(text)
    if kind is str:
        return text
    if kind is Amount:
        return Amount.parse(text)
    if typing.get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return choices[text]
    if typing.get_origin(kind) is types.UnionType:
        if text.lower() == "none" and type(None) in typing.get_args(kind):
            return None
        (inner,) = (option for option in typing.get_args(kind) if option is not type(None))
        return _convert(inner, text)
    raise ValueError(f"a setting of type {kind} cannot be written on the command line")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Amount) else value


def settings_of(instance: Any) -> Settings:
    """Every field of a settings dataclass as a JSON value."""
    return {item.name: _plain(getattr(instance, item.name)) for item in dataclasses.fields(instance)}


def canonical(name: str, instance: Any) -> Named:
    """Name and every setting, defaults included: instances with equal canonical forms compute the same thing."""
    return {"name": name, "settings": settings_of(instance)}


def spec_of(facts: Named) -> Spec:
    """A canonical form as a spec: what ``canonical`` of its instance is."""
    return Spec(facts["name"], {key: str(value) for key, value in facts.get("settings", {}).items()})


def fingerprint(value: Any) -> str:
    """sha256 (hex) of the canonical text of a JSON value."""
    return hashlib.sha256(in_one_line(value).encode()).hexdigest()


def in_one_line(value: Any) -> str:
    """A JSON value in one line without spaces, keys sorted; floats are written with every digit they need."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
