"""Packs a finished run for a pull request: rows, scores, weights, cards, costs and plug-in files, in its own folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrobust.benchmark.boards.board import FILE, LICENCE, BoardFacts, stores_of
from attrobust.benchmark.boards.fit import Fit
from attrobust.benchmark.boards.weights import HANDED_IN
from attrobust.benchmark.store.contests import FOLDER as CONTESTS
from attrobust.benchmark.store.costs import COSTS
from attrobust.benchmark.store.store import SWEEP, TABLES, Store
from attrobust.files import file_sha256
from attrobust.types import UsageError

FOLDERS = ("scores", "audits", "checkpoints", CONTESTS)
"""Of a run, what its tables rest on; attacked images can be computed again and stay out."""
FILES = ("run.json", "rows.jsonl", COSTS, *TABLES)
LEFT_OUT = (".resume", ".lock")
PLUGINS = "plugins"


@contextmanager
def packing(run: Path, to: Path, fit: Fit, by: str, plugins: Sequence[Path]) -> Iterator[Path]:
    """Copy all that a run publishes into a new folder beside its place, which is removed unless it is put there.

    Args:
        run: folder of a run or a sweep.
        to: its place, which does not exist yet or is empty.
        fit: the board that it is for.
        by: who hands it in.
        plugins: files that the run was made with.

    Raises:
        UsageError: the place holds something or cannot be written, or weights that were handed in are not where they
            were.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"--to {to} holds something already; name an empty folder")
    stores = stores_of(run)
    weights = dict(pair for store in stores.values() for pair in handed_in(store))
    partial = to.with_name(f".{to.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for store in stores.values():
            _copy(store.folder, partial / store.folder.relative_to(run))
        if len(stores) > 1:
            for name in (SWEEP, *TABLES):
                _copy_file(run / name, partial / name)
        for label, file in weights.items():
            _copy_file(file, partial / HANDED_IN / f"{label.replace('/', '-')}{file.suffix}")
        for file in plugins:
            _copy_file(file, partial / PLUGINS / file.name)
        BoardFacts(version=1, licence=LICENCE, tracks=(fit.track,), of=fit.board, by=by).write(partial)
        yield partial
    except OSError as error:
        raise UsageError(f"--to {to} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put(packed: Path, to: Path) -> None:
    """Give a packed folder its place."""
    if to.is_dir():
        to.rmdir()
    packed.rename(to)


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
