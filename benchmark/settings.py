"""Settings files (TOML) to frozen dataclasses, with errors that name the file, the key and the nearest known key."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

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
        close = difflib.get_close_matches(name, shipped, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
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
            close = difflib.get_close_matches(key, list(known), n=1)
            raise UsageError(f"{path}: unknown key {key!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
    for key, item in known.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if key not in values and required:
            raise UsageError(f"{path}: key {key!r} is missing")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def check_types(settings: Any, **kinds: type | tuple[type, ...]) -> None:
    """Raise ValueError unless each named field of ``settings`` has the type given (bool is not a number)."""
    for name, kind in kinds.items():
        value = getattr(settings, name)
        wanted = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise ValueError(f"{name} must be {' or '.join(k.__name__ for k in wanted)}, not {value!r}")
