"""``--list``: every registered name with its one-line summary, without importing the items."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from attrobust import attacks, explainers, methods, metrics
from attrobust.benchmark import data, models
from attrobust.benchmark.command.cards import checkpoint_table, whole_card
from attrobust.benchmark.command.describe_protocol import describe_protocol
from attrobust.benchmark.command.options import AXES
from attrobust.benchmark.request.protocol import FOLDER as PROTOCOLS
from attrobust.benchmark.request.protocol import PAPERS
from attrobust.benchmark.training.recipe import FOLDER as RECIPES
from attrobust.naming.registry import Registry
from attrobust.types import UsageError

SETTINGS = {"protocols": PROTOCOLS, "recipes": RECIPES}
REGISTRIES: dict[str, Registry[Any]] = {
    "methods": methods.registry,
    "explainers": explainers.registry,
    "attacks": attacks.registry,
    "metrics": metrics.registry,
    "datasets": data.registry,
    "models": models.registry,
}


def listing(axis: str) -> str:
    """The text of ``--list``: names and summaries of one axis or of ``all``, or one entry, e.g. ``methods:aga``.

    Raises:
        UsageError: no such axis, or no such entry.
    """
    axis, colon, name = axis.partition(":")
    if colon:
        if axis == "checkpoints":
            return whole_card(name)
        if axis == "protocols":
            return describe_protocol(name)
        if axis not in REGISTRIES:
            described = ", ".join((*REGISTRIES, "protocols", "checkpoints"))
            raise UsageError(f"--list {axis}:{name}: entries are described of {described}")
        from attrobust.benchmark.command.describe import describe  # Imports torch, as a mere list does not.

        return describe(REGISTRIES[axis], name)
    if axis not in (*AXES, "all"):
        raise UsageError(f"--list {axis!r}: no such axis; use {', '.join(AXES)}")
    chosen = AXES if axis == "all" else (axis,)
    blocks = []
    for name in chosen:
        if name == "checkpoints":
            blocks.append("\n".join([f"{name}:", *(f"  {line}" for line in checkpoint_table())]))
            continue
        blocks.append(_block(name, _lines(name)))
        if name == "protocols":
            blocks.append(_block("protocols of papers", _files(PAPERS)))
    return "\n\n".join(blocks) + "\n"


def _block(title: str, lines: list[tuple[str, str]]) -> str:
    width = max((len(key) for key, _ in lines), default=0)
    return "\n".join([f"{title}:", *(f"  {key:<{width}}  {text}".rstrip() for key, text in lines)])


def _lines(axis: str) -> list[tuple[str, str]]:
    if axis in REGISTRIES:
        return [(entry.name, entry.summary.replace("``", "")) for entry in REGISTRIES[axis].entries()]
    return _files(SETTINGS[axis])


def _files(folder: Path) -> list[tuple[str, str]]:
    return [(path.stem, _summary(path)) for path in sorted(folder.glob("*.toml"))]


def _summary(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    first_comment = text.partition("\n")[0].removeprefix("#").strip()
    return str(tomllib.loads(text).get("summary", first_comment))
