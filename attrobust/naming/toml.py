"""Settings files (TOML) to frozen dataclasses, with errors that name the file, the key and the nearest known key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from attrobust.naming.file_names import not_a_file, not_a_path
from attrobust.naming.suggest import did_you_mean
from attrobust.naming.validate import MisfitError, hints_of, validated
from attrobust.types import UsageError

T = TypeVar("T")


def find_file(what: str, name: str, *folders: Path) -> Path:
    """The file of a shipped setting ``name`` in one of ``folders``, or the file a path ending in ``.toml`` names.

    Raises:
        UsageError: neither exists; lists what is shipped.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if problem := not_a_path(name):
            raise UsageError(f"{what} file {problem}")
        if problem := not_a_file(path):
            raise UsageError(f"{what} file {name} {problem}")
        return path
    shipped = {known: folder / f"{known}.toml" for folder in folders for known in shipped_names(folder)}
    if name not in shipped:
        hint = did_you_mean(name, shipped)
        raise UsageError(f"unknown {what} {name!r}.{hint} Known: {', '.join(shipped)}, or a path ending in .toml")
    return shipped[name]


def shipped_names(folder: Path) -> list[str]:
    """Names of the settings files in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def table(path: Path) -> dict[str, Any]:
    """What a TOML file holds; raises UsageError where it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: not readable as TOML: {error}") from error
    return values(data, str(path))


def values(data: bytes, where: str) -> dict[str, Any]:
    """What the text of a TOML file holds; raises UsageError, beginning with the file, where it is none."""
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:  # Of a number of 4301 digits it is no TOMLDecodeError.
        raise UsageError(f"{where}: not readable as TOML: {error}") from error


def read(cls: type[T], path: Path, extra: dict[str, Any] | None = None) -> T:
    """An instance of the dataclass ``cls`` from a TOML file; ``extra`` fields are not read from it.

    Raises:
        UsageError: not TOML, a key that is unknown, missing or of the wrong type, or a value the class rejects.
    """
    return settings_from(cls, table(path), str(path), extra)


def settings_from(cls: type[T], found: dict[str, Any], where: str, extra: dict[str, Any] | None = None) -> T:
    """An instance of the dataclass ``cls`` from the values of a TOML table, as ``read`` makes it from a file.

    Args:
        cls: of the instance.
        found: by key, the values.
        where: what errors begin with: the file, and the table in it.
        extra: fields that are not read from the table.
    """
    check_keys(found, set(hints_of(cls)) - set(extra or {}), where)
    try:
        settings: T = validated({**found, **(extra or {})}, cls)
    except MisfitError as error:
        raise UsageError(f"{where}: {error}") from error
    return settings


def check_keys(found: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise UsageError for the first key that is not known, with the nearest one that is."""
    names = sorted(known)
    for key in found:
        if key not in names:
            raise UsageError(f"{where}: unknown key {key!r}.{did_you_mean(key, names)}")
