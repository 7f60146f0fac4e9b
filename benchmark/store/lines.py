"""Lines of ``rows.jsonl`` as rows: what many lines say in the same words is one object in all of their rows."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any, Literal

import msgspec

from attrobust.benchmark.store.rows import Row, ScoredRow, contested_fingerprint, named_metric
from attrobust.benchmark.store.upgrade import read_row
from attrobust.naming.spec import in_one_line
from attrobust.naming.validate import hints_of, parsed

SHARED = ("cell", "metric", "provenance", "trained", "wording", "passes", "flags")
"""Fields whose words many rows share; the rest of a row takes a tenth of its memory."""


class Lines:
    """Reads the lines of one file."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, bytes], Any] = {}

    def row(self, line: bytes) -> Row:
        """The row of a line.

        Raises:
            ValueError: the line holds no JSON document.
            MisfitError, OtherVersionError: see ``read_row``.
        """
        try:
            light = msgspec.json.decode(line, type=_light())
            parts = {name: self._part(name, getattr(light, name)) for name in SHARED}
        except (msgspec.MsgspecError, RecursionError):
            # Of another version, failed, or damaged: the long way upgrades it or says what is wrong.
            return read_row(parsed(line))
        rest = {name: getattr(light, name) for name in ScoredRow.__struct_fields__ if name not in parts}
        return ScoredRow(**rest, **parts)

    def _part(self, name: str, raw: Any) -> Any:
        if not isinstance(raw, msgspec.Raw):
            return raw
        key = name, bytes(raw)
        if key not in self._parts:
            self._parts[key] = msgspec.json.decode(raw, type=hints_of(ScoredRow)[name])
        return self._parts[key]


def line_of(value: Any) -> bytes:
    """A JSON value as files of a run have it in one line."""
    return json.dumps(value, sort_keys=True, allow_nan=False).encode() + b"\n"


def document_of(value: Any) -> bytes:
    """A JSON value as files of a run have it that hold nothing else."""
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def is_as_dumped(line: bytes) -> bool:
    """Whether a line with a JSON document is, byte for byte, as ``line_of`` writes it."""
    try:
        return line_of(json.loads(line)) == line
    except ValueError:
        return False


class _Named(msgspec.Struct):
    fingerprint: str
    cell: msgspec.Raw
    metric: msgspec.Raw
    contests: list[Any] = []


def names_of(line: bytes) -> tuple[str, str]:
    """The fingerprint that a line says, and that of its cell, metric and contests, word for word as they are written.

    Raises:
        ValueError: the line holds no JSON document, or not that of a row.
    """
    named = msgspec.json.decode(line, type=_Named)
    # As ``row_fingerprint`` does, without reading again what the line before said too.
    text = f"[{_cell_text(bytes(named.cell))},{_metric_text(bytes(named.metric))}]"
    key = hashlib.sha256(text.encode()).hexdigest()
    return named.fingerprint, contested_fingerprint(key, named.contests) if named.contests else key


@functools.lru_cache(maxsize=64)
def _cell_text(raw: bytes) -> str:
    return in_one_line(parsed(raw))


@functools.lru_cache(maxsize=64)
def _metric_text(raw: bytes) -> str:
    return in_one_line(named_metric(parsed(raw)))


@functools.cache
def _light() -> Any:
    """A scored row whose shared fields are not read yet."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(ScoredRow):
        kind = msgspec.Raw if field.name in SHARED else field.type
        if field.required:
            fields.append((field.name, kind))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, kind, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, kind, field.default))
    # As a tag it could be absent, in a type that is no union.
    fields.append(("status", Literal["ok"]))
    return msgspec.defstruct("Light", fields, kw_only=True, forbid_unknown_fields=True)
