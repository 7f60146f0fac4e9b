"""Settings files (TOML) to frozen dataclasses, with errors that name the file, the key and the nearest known key."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

T = TypeVar("T")


def find_file(what: str, name: str, folder: Path) -> Path:
    """The file of a shipped setting ``name`` in ``folder``, or the file a path ending in ``.toml`` names.

    Raises:
        UsageError: neither exists; lists what is shipped.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{what} file {name} does not exist")
        return path
    shipped = shipped_names(folder)
    if name not in shipped:
        hint = did_you_mean(name, shipped)
        raise UsageError(f"unknown {what} {name!r}.{hint} Known: {', '.join(shipped)}, or a path ending in .toml")
    return folder / f"{name}.toml"


def shipped_names(folder: Path) -> list[str]:
    """Names of the settings files in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read(cls: type[T], path: Path, extra: dict[str, Any] | None = None) -> T:
    """An instance of the dataclass ``cls`` from a TOML file; ``extra`` fields are not read from it.

    Raises:
        UsageError: not TOML, a key that is unknown, missing or of the wrong type, or a value the class rejects.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: not readable as TOML: {error}") from error
    assert dataclasses.is_dataclass(cls)
    values = {**table, **(extra or {})}
    known = {item.name: item for item in dataclasses.fields(cls)}
    for key in table:
        if key not in known or key in (extra or {}):
            raise UsageError(f"{path}: unknown key {key!r}.{did_you_mean(key, known)}")
    for key, item in known.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if key not in values and required:
            raise UsageError(f"{path}: key {key!r} is missing")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def check_types(settings: Any) -> None:
    """Raise ValueError unless every field has the type, or is one of the words, that its class declares."""
    for name, kind in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Literal and value not in arguments:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(map(str, arguments))}")
        if origin is tuple and not (isinstance(value, tuple) and all(_is(item, arguments[0]) for item in value)):
            raise ValueError(f"{name} must be a list of {arguments[0].__name__}, not {value!r}")
        if isinstance(kind, type) and origin is None and not _is(value, kind):
            raise ValueError(f"{name} must be {kind.__name__}, not {value!r}")


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kind)
