"""A sweep on disk: ``sweep.json`` names the runs that differ in an axis; each is a folder of its own, and complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from attrobust.benchmark.store.audits import AUDITS
from attrobust.benchmark.store.damage import REPAIR, DamagedError
from attrobust.benchmark.store.lines import document_of
from attrobust.benchmark.store.rows import Record, ScoredRow, Signed
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.store import SWEEP, Store
from attrobust.files import read_plain, write_atomically
from attrobust.naming.file_names import not_a_file
from attrobust.naming.validate import MisfitError, as_json, parsed, validated
from attrobust.types import UsageError


class SweptRun(Record, frozen=True, kw_only=True):
    """One run of a sweep.

    Attributes:
        folder: its name, inside the sweep's.
        words: what tells it from the others, as tables say it.
        part: of the protocol that it is; empty where the protocol has no parts.
        table: what tells the table of its rows from the others, where other runs have rows in it too; else empty.
    """

    folder: str
    words: str
    part: str = ""
    table: str = ""


class Sweep(Signed, frozen=True, kw_only=True):
    """The contents of ``sweep.json``.

    Attributes:
        schema: version of its form.
        runs: in the order of the table.
        argv: of the command that carries them out, as typed; empty where an older version did not say.
    """

    schema: Literal[4] = SCHEMA
    runs: tuple[SweptRun, ...]
    argv: tuple[str, ...] = ()


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep that a folder holds; None where there is none. Raises UsageError where the file is damaged."""
    path = folder / SWEEP
    if not os.path.lexists(path):
        return None
    if problem := not_a_file(path):
        raise DamagedError(path, problem, REPAIR)
    try:
        data = read_plain(path)
        sweep: Sweep = validated(parsed(data), Sweep)
    except (MisfitError, ValueError) as error:
        raise DamagedError(path, f"is no sweep ({error})", REPAIR) from error
    if not sweep.runs or any(Path(run.folder).name != run.folder for run in sweep.runs):
        raise DamagedError(path, "is no sweep (runs that are no folders in it)", REPAIR)
    if sweep.digest and (not sweep.is_as_written or document_of(parsed(data)) != data):
        raise DamagedError(path, "is not as it was written", REPAIR)
    return sweep


def write_sweep(folder: Path, sweep: Sweep) -> None:
    """Record what a sweep is made of; raises UsageError where the folder cannot be written."""
    try:
        write_atomically(folder / SWEEP, document_of(as_json(sweep.signed())))
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}") from error


def take_over(target: Store, source: Store, *, same_threat: bool) -> None:
    """Give a run what a finished one of the same images and networks has computed that it may need too.

    These are weights, which stay one file on disk where the system can do that, and rows without attack. Under the same
    threat they are also audits, and rows of accuracy under attack.

    Args:
        target: locked.
        source: of the other run.
        same_threat: whether both have the same norm, radius and rule for predictions.
    """
    names = [path for card in _in(source, "checkpoints", "*.toml") for path in (card.with_suffix(".pt"), card)]
    for path in names + (_in(source, AUDITS, "*.json") if same_threat else []):
        _linked(path, target.folder / path.parent.name / path.name)
    known, rows = target.rows(), source.rows()
    for entry in source.plan().entries:
        row = rows[entry.row]
        wanted = not entry.attack or (same_threat and not entry.explainer)
        if isinstance(row, ScoredRow) and wanted and not isinstance(known.get(entry.row), ScoredRow):
            target.copy_scores(source, row)
            target.append([row])
            known[entry.row] = row


def _in(store: Store, folder: str, pattern: str) -> list[Path]:
    return sorted((store.folder / folder).glob(pattern))


def _linked(path: Path, place: Path) -> None:
    if place.exists() or not path.is_file():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError:
        shutil.copyfile(path, place)
