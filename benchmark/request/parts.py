"""Protocols with parts: every ``[parts.NAME]`` table of the file is a run of its own, with other settings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from attrobust.benchmark.request.axes import radii_of
from attrobust.benchmark.request.protocol import Protocol, protocol_file, protocol_from
from attrobust.naming import toml as settings
from attrobust.naming.file_names import unsuitable
from attrobust.naming.spec import Sweep
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError

SHARED = ("name", "version", "summary", "dataset", "model", "modified")
"""Fields that all parts of a protocol have in common."""
ROWS = ("methods", "seeds", "baselines")
"""Fields that choose the rows of a table, and not how a row is evaluated."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
"""Of a part, which is the name of a folder on every system."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a protocol.

    Attributes:
        name: of the table; empty where a protocol has no parts.
        protocol: that it is evaluated by; of several radii with the first.
        eps: its radii as the file states them, separated by commas.
        selects: names of the methods that it states itself, the only ones that are rows of it; None where it has those
            of the whole protocol.
    """

    name: str
    protocol: Protocol
    eps: str
    selects: tuple[str, ...] | None = None

    def rows_of(self, methods: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Of the methods that a command lists, as typed, those that are rows of this part; None where it lists none."""
        if methods is None or self.selects is None:
            return methods
        return tuple(text for text in methods if Sweep.parse(text).specs[0].name in self.selects)


def load_parts(name: str) -> list[Part]:
    """The parts of a protocol in the order of its file; one without a name where it has none.

    Args:
        name: of a shipped protocol, or a path ending in ``.toml``.

    Raises:
        UsageError: an unknown name, field or value, a part whose name is no folder's, or two parts that are the same.
    """
    path = protocol_file(name)
    common = settings.table(path)
    tables = common.pop("parts", {})
    whole = protocol_from(common, path.stem, str(path))
    if not tables:
        return [Part(name="", protocol=whole, eps=whole.eps)]
    fields = {field.name for field in dataclasses.fields(Protocol)} - set(SHARED)
    parts: list[Part] = []
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: parts must be tables, [parts.NAME]")
    for part, values in tables.items():
        where = f"{path}: parts.{part}"
        if not NAME.fullmatch(part):
            raise UsageError(f"{where}: a part is a folder; name it with small letters, digits and -")
        if problem := unsuitable(part):
            raise UsageError(f"{where}: a part is a folder, and this name {problem}; choose another")
        if not isinstance(values, dict):
            raise UsageError(f"{where} must be a table, [parts.{part}]")
        settings.check_keys(values, fields, where)
        eps = values.get("eps", whole.eps)
        radii = radii_of(eps, f"{where}: eps") if isinstance(eps, str) else [eps]
        protocol = protocol_from({**common, **values, "eps": radii[0]}, path.stem, where)
        selects = _names(protocol.methods) if "methods" in values else None
        parts.append(Part(name=part, protocol=protocol, eps=",".join(map(str, radii)), selects=selects))
        for other in parts[:-1]:
            if (other.protocol, other.eps) == (protocol, parts[-1].eps):
                raise UsageError(f"{where} is the same as parts.{other.name}")
    return parts


def picked(parts: Sequence[Part], text: str | None, protocol: str) -> list[Part]:
    """The parts that ``--parts`` names, in the order of the protocol; all where it is not given.

    Raises:
        UsageError: the protocol has no such part.
    """
    if text is None:
        return list(parts)
    if not parts[0].name:
        raise UsageError(f"--parts {text}: the protocol {protocol} has no parts")
    known = [part.name for part in parts]
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--parts: unknown part {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}")
    return [part for part in parts if part.name in wanted]


def adds_nothing(protocol: Protocol, others: Sequence[Protocol]) -> bool:
    """Whether all rows of a part are rows of one of the others, which is evaluated alike."""
    return any(
        table_of(protocol) == table_of(other)
        and all(set(getattr(protocol, key)) <= set(getattr(other, key)) for key in ROWS)
        for other in others
    )


def table_of(protocol: Protocol) -> Protocol:
    """What decides the table that the rows of a part stand in: everything but the rows."""
    return dataclasses.replace(protocol, methods=(), seeds=(0,), baselines=(), modified=())


def with_all_modified(protocols: Sequence[Protocol]) -> list[Protocol]:
    """The protocols of all parts, each with the fields that the command line changed in any."""
    modified = tuple(sorted({field for protocol in protocols for field in protocol.modified}))
    return [dataclasses.replace(protocol, modified=modified) for protocol in protocols]


DIFFERENCES: dict[str, Callable[[Any], str]] = {
    "norm": str,
    "images": lambda value: f"{value} images",
    "label": lambda value: f"maps of {value} classes",
    "reduction": lambda value: f"{value} maps",
    "keep_prediction": lambda value: "predictions kept" if value else "predictions may change",
    "evaluation_seed": lambda value: f"evaluation seed {value}",
}
"""What tables say of the fields in which parts differ, radii apart."""


def differences(protocols: Sequence[Protocol]) -> list[tuple[str, ...]]:
    """For each part what tells its numbers from those of the others, in words, e.g. ``50 images``."""
    fields = [key for key in DIFFERENCES if len({getattr(protocol, key) for protocol in protocols}) > 1]
    return [tuple(DIFFERENCES[key](getattr(protocol, key)) for key in fields) for protocol in protocols]


def _names(methods: Sequence[str]) -> tuple[str, ...]:
    return tuple(Sweep.parse(text).specs[0].name for text in methods)
