"""A board: a committed folder of results, with a version and a licence in ``board.toml``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from attrobust.benchmark.report.sweeps import together
from attrobust.benchmark.store.store import SWEEP, Store
from attrobust.files import write_atomically
from attrobust.naming import toml
from attrobust.types import UsageError

FILE = "board.toml"
LICENCE = "CC0-1.0"
"""Of all published rows and scores."""
Track = Literal["recipe", "weights"]
TRACKS: dict[Track, str] = {"recipe": "trained by the recipe of the board", "weights": "weights handed in"}
LOCAL = "runs"
"""The folder of ``results/`` that holds runs of one's own, which are not published."""


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """The contents of ``board.toml``.

    Attributes:
        version: raised with every change that moves a published number, or takes away rows or images.
        licence: of rows and scores.
        tracks: how networks may come by their weights, see ``TRACKS``.
        of: for a submission, the board that it is for, e.g. ``fashion-v1``; empty for a board.
        by: for a submission, who handed it in; empty for a board.
    """

    version: int
    licence: str
    tracks: tuple[Track, ...] = get_args(Track)
    of: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError(f"version = {self.version} must be 1 or more")

    def write(self, folder: Path) -> None:
        """Write ``board.toml``, atomically."""
        facts = {key: value for key, value in asdict(self).items() if value != ""}
        write_atomically(folder / FILE, "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items()))


def read_facts(folder: Path) -> BoardFacts:
    """What ``board.toml`` of a folder says.

    Raises:
        UsageError: there is none, or it is not readable.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{folder} has no {FILE}; write one with version = 1 and licence = {LICENCE!r}")
    return toml.read(BoardFacts, path)


def boards_in(results: Path) -> list[str]:
    """Names of the boards and submissions below a folder, as paths in it; each holds a run or a sweep.

    Folders of runs inside a sweep are parts of it. The folder ``runs`` is left out.
    """
    found: list[str] = []
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        parts = name.split("/")
        if path.name not in (FILE, "run.json", SWEEP) or parts[0] == LOCAL or len(parts) < 2:
            continue
        folder = "/".join(parts[:-1])
        if not any(folder == known or folder.startswith(f"{known}/") for known in found):
            found = [known for known in found if not known.startswith(f"{folder}/")]
            found.append(folder)
    return sorted(found)


def stores_of(folder: Path) -> dict[str, Store]:
    """The finished runs of a board by the words that tell them apart; one without words where there is no sweep.

    Raises:
        UsageError: there is no run.
    """
    stores = {group.where: group.stores[0] for group in together([folder])}
    for store in stores.values():
        store.plan()
    return stores
