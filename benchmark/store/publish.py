"""JSON schemas of the files of a run, made from the types that read them.

They are published in ``docs/schemas/``, for those who read runs without this package; written there again by
``python -m attrobust.benchmark.store.publish``.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from attrobust.benchmark.store.plan import Plan
from attrobust.benchmark.store.rows import Row, RowBase, Signed
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.sweep import Sweep
from attrobust.files import write_atomically
from attrobust.types import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES: dict[str, tuple[Any, str]] = {
    "rows.schema.json": (Row, f"A line of rows.jsonl, schema {SCHEMA}: one metric of one cell."),
    "sweep.schema.json": (
        Sweep,
        f"The contents of sweep.json, schema {SCHEMA}: runs that differ in what a command listed.",
    ),
    "run.schema.json": (Plan, f"The contents of run.json, schema {SCHEMA}: what was asked for last."),
}
"""By file name, the type that it is made of, and what it describes."""


def schemas() -> dict[str, str]:
    """By file name, the text of every published schema."""
    return {name: json.dumps(_schema(kind, title), indent=2) + "\n" for name, (kind, title) in FILES.items()}


def _schema(kind: Any, title: str) -> Settings:
    """The schema of a type, every field with what the docstring of its class says of it."""
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        text = inspect.cleandoc(definition.get("description", ""))
        said = attributes(text)
        if "digest" in definition.get("properties", {}):
            said |= attributes(Signed.__doc__ or "")
        if "status" in definition.get("properties", {}):
            said |= {"status": "whether it was computed.", **attributes(RowBase.__doc__ or "")}
        definition["description"] = text.partition("\n\nAttributes:")[0]
        for name, field in definition.get("properties", {}).items():
            # An empty default is written by some versions of msgspec only.
            if field.get("default") in ({}, []):
                del field["default"]
            if name in said:
                definition["properties"][name] = {"description": said[name], **field}
    return {"$schema": DIALECT, "title": title, **schema}


def attributes(docstring: str) -> dict[str, str]:
    """What a docstring says of the attributes of its class, by name."""
    text = inspect.cleandoc(docstring).partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name.strip(): " ".join(said.split()) for names, said in entries for name in names.split(",")}


def main(folder: Path) -> None:
    """Write every schema into a folder."""
    for name, text in schemas().items():
        write_atomically(folder / name, text)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
