"""Packs a finished run for a pull request: rows, scores, weights, cards and plug-in files, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrobust.benchmark.boards.board import FILE, BoardFacts, stores_of
from attrobust.benchmark.boards.registered import PLUGINS
from attrobust.benchmark.boards.weights import HANDED_IN
from attrobust.benchmark.report.sweeps import boards_of, together
from attrobust.benchmark.report.write import write
from attrobust.benchmark.store.contests import FOLDER as CONTESTS
from attrobust.benchmark.store.scores import ARCHIVE, ScoreFiles
from attrobust.benchmark.store.scores import FOLDER as SCORES
from attrobust.benchmark.store.store import SWEEP, TABLES, Store
from attrobust.files import file_sha256
from attrobust.naming.file_names import as_part, free_name
from attrobust.types import UsageError

FOLDERS = (SCORES, "audits", "checkpoints", CONTESTS)
"""Of a run, what its tables rest on; attacked images can be computed again and stay out."""
FILES = ("run.json", "rows.jsonl", ARCHIVE, *TABLES)
LEFT_OUT = (".resume", ".lock")


@contextmanager
def packing(run: Path, to: Path, facts: BoardFacts, plugins: Sequence[Path]) -> Iterator[Path]:
    """Copy all that a run publishes into a new folder beside its place, which is removed unless it is put there.

    Args:
        run: folder of a run or a sweep.
        to: its place.
        facts: of the board or submission that it becomes.
        plugins: files that the run was made with.

    Raises:
        UsageError: the place cannot be written, or weights that were handed in are not where they were.
    """
    stores = stores_of(run)
    weights = dict(pair for store in stores.values() for pair in handed_in(store))
    partial = to.with_name(f".{to.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for store in stores.values():
            target = partial / store.folder.relative_to(run)
            _copy(store.folder, target)
            ScoreFiles(target).pack()
        if len(stores) > 1:
            for name in (SWEEP, *TABLES):
                _copy_file(run / name, partial / name)
        used: set[str] = set()
        for label, file in weights.items():
            _copy_file(file, partial / HANDED_IN / f"{free_name(as_part(label), used)}{file.suffix}")
        for file in plugins:
            _copy_file(file, partial / PLUGINS / f"{free_name(file.stem, used)}{file.suffix}")
        # Of tables beside each other the papers are one file, at the root.
        write(boards_of(together([run]), "percentile"), partial, ["bibtex"])
        facts.write(partial)
        yield partial
    except OSError as error:
        raise UsageError(f"{to} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put(packed: Path, to: Path) -> None:
    """Give a packed folder its place; what lay there is put aside until it has, and removed then."""
    aside = to.with_name(f".{to.name}.old")
    if to.is_dir():
        # Left there by a command that was killed after the new folder had its place.
        shutil.rmtree(aside, ignore_errors=True)
        to.rename(aside)
    try:
        packed.rename(to)
    except BaseException:
        if aside.is_dir():
            aside.rename(to)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def handed_in(store: Store) -> Iterator[tuple[str, Path]]:
    """Label and file of every network of a run whose weights came from a user's file.

    Raises:
        UsageError: the file is gone or another one by now, or the weights came from a package.
    """
    for subject in store.plan().subjects:
        if not subject.checkpoint or subject.baseline:
            continue
        path = Path(subject.checkpoint)
        if not path.is_file() or file_sha256(path) != subject.sha256:
            raise UsageError(
                f"the weights of {subject.label} are no longer at {path}; put the file back, or save the network's "
                "state_dict in a file and evaluate that"
            )
        yield subject.label, path


def size_of(folder: Path) -> tuple[int, int]:
    """Bytes of all files of a folder, and of those that are weights."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".pt" or path.parent.name == HANDED_IN]
    return sum(path.stat().st_size for path in files), sum(path.stat().st_size for path in weights)


def _copy(source: Path, target: Path) -> None:
    for name in FILES:
        _copy_file(source / name, target / name)
    for folder in FOLDERS:
        for path in sorted((source / folder).rglob("*")):
            if path.is_file() and path.suffix not in LEFT_OUT:
                _copy_file(path, target / path.relative_to(source))


def _copy_file(source: Path, target: Path) -> None:
    if source.is_file() and source.name != FILE:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
