"""Whether everything that stored cells were computed with is registered here; plug-ins may not have been loaded."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrobust import attacks, explainers, methods, metrics
from attrobust.benchmark import data as datasets
from attrobust.benchmark import models
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.store.store import Store
from attrobust.naming.registry import Registry
from attrobust.types import Named, UsageError

PLUGINS = "plugins"
"""The folder of a submission that holds the plug-in files of its run."""
OPTION = "--plugin"


def check_registered(folder: Path, cells: Iterable[StoredCell]) -> None:
    """Raise UsageError where a cell was computed with something that no file or package registers here.

    Args:
        folder: of the board, run or submission, which the error names.
        cells: that are to be opened.
    """
    cells = list(cells)
    lacking = dict.fromkeys(what for cell in cells for what in _unregistered(folder, cell))
    if not lacking:
        return
    files = list(dict.fromkeys(file for cell in cells for file in plugins_of(folder, cell.store)))
    named = " ".join(f"{OPTION} {shlex.quote(str(file))}" for file in files) or f"{OPTION} FILE.py"
    whose = "with which it was made" if files else "of the file that registers this, or install its package"
    raise UsageError(f"{folder} was made with a plug-in that is not loaded: {', '.join(lacking)}; add {named}, {whose}")


def plugins_of(folder: Path, store: Store) -> list[Path]:
    """The plug-in files of a run: those packed with it, else as its command named them; they may be gone."""
    packed = sorted((folder / PLUGINS).glob("*.py"))
    return packed or named_plugins(store.plan().argv)


def named_plugins(argv: Sequence[str]) -> list[Path]:
    """The plug-in files of a command line, each once, in its order."""
    found = [value for word, value in itertools.pairwise(argv) if word == OPTION]
    found = [word.partition("=")[2] for word in argv if word.startswith(f"{OPTION}=")] + found
    return [Path(path) for path in dict.fromkeys(found)]


def _unregistered(folder: Path, cell: StoredCell) -> Iterator[str]:
    """What is not registered of all that a cell was computed with, in words."""
    facts = cell.rows[0].cell
    needed: list[tuple[Registry[Any], Named | None]] = [
        (datasets.registry, facts.dataset),
        (models.registry, facts.subject.model),
        (methods.registry, facts.subject.method),
        (methods.registry, _source_method(folder, cell)),
        (explainers.registry, facts.explainer),
        (attacks.registry, facts.attack),
        *((metrics.registry, Named(name=row.metric.name)) for row in cell.rows if row.metric.scope != "accuracy"),
    ]
    for registry, named in needed:
        if named and named["name"] not in registry.names():
            yield f"{registry.kind} {named['name']!r}"


def _source_method(folder: Path, cell: StoredCell) -> Named | None:
    """The method that trained the source model of a cell's attack; None where it has none, or one without a card."""
    sha256 = cell.rows[0].cell.source_model_sha256
    for place in (cell.store.folder, folder) if sha256 else ():
        for path in sorted((place / "checkpoints").glob("*.toml")):
            with suppress(UsageError):
                card = WeightCard.read(path)
                if card.sha256 == sha256:
                    return card.method
    return None
