"""Damaged files and lines of a run are set aside, so that the run's command computes them again; nothing is deleted."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path

from attrobust.benchmark.store.audits import Audits
from attrobust.benchmark.store.contests import damaged_images
from attrobust.benchmark.store.damage import Problem
from attrobust.benchmark.store.pieces import Pieces
from attrobust.benchmark.store.retrainings import damaged_hits
from attrobust.benchmark.store.states import damaged_states
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.thumbnails import Thumbnails
from attrobust.files import write_atomically
from attrobust.naming.file_names import not_a_folder
from attrobust.types import UsageError

DAMAGED = "damaged"
"""Folder of a run, in which files keep their places."""


def damaged_files(folder: Path) -> Iterator[Path]:
    """The files of a run that are not as they were written; those of its plan, rows, scores and weights apart."""
    yield from remade_files(folder)
    yield from damaged_images(folder)
    yield from Thumbnails(folder).damaged()


def remade_files(folder: Path) -> Iterator[Path]:
    """Those among them that the command of the run makes again where it needs them."""
    yield from Pieces(folder).damaged()
    yield from Audits(folder).damaged()
    yield from damaged_hits(folder)
    yield from damaged_states(folder)


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """What was set aside of a run.

    Attributes:
        files: as they were called in the folder of the run.
        lines: of ``rows.jsonl``, by number.
    """

    files: tuple[str, ...]
    lines: tuple[int, ...]


def set_aside(store: Store, problems: Iterable[Problem]) -> SetAside:
    """Move what problems name into the folder ``damaged`` of a run; the caller holds the run.

    Lines are written there before they are taken out of ``rows.jsonl``, so that a kill loses none.
    """
    found = list(problems)
    lines = sorted({number for problem in found for number in problem.lines})
    if lines:
        whole = store.lines.read()
        place = _place(store.folder, store.lines.path)
        write_atomically(place, b"".join(whole[number - 1].rstrip(b"\n") + b"\n" for number in lines))
        store.lines.without(lines)
    files = [path for path in dict.fromkeys(path for problem in found for path in problem.files) if lexists(path)]
    for path in files:
        put_aside(store.folder, path)
    return SetAside(files=tuple(str(path.relative_to(store.folder)) for path in files), lines=tuple(lines))


def put_aside(folder: Path, path: Path) -> Path:
    """Move one file of a run or a sweep into its folder ``damaged``; returns where it lies there."""
    place = _place(folder, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        problem = f"{folder / DAMAGED} is on another file system than {path}"
        raise UsageError(f"{problem}, so that nothing can be set aside there; move it away") from error
    return place


def _place(folder: Path, path: Path) -> Path:
    """Where a file of a run is put aside: its own place in the folder ``damaged``, with a number where one lies there.

    Raises:
        UsageError: there is something else in the place of a folder.
    """
    place = folder
    for part in (DAMAGED, *path.relative_to(folder).parent.parts):
        place /= part
        if lexists(place) and (problem := not_a_folder(place)):
            raise UsageError(f"{place} {problem}, so that nothing can be set aside there; move it away")
    path = place / path.name
    found, number = path, 1
    while lexists(found):
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
