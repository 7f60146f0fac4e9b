"""What is on disk of cells that are not complete, and the results of attacks: a file for each part of the images.

A file is written the moment its part is done. It begins with a digest of its contents and of its place, so that one
that is damaged, or that took the place of another, is left aside and computed again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.store.attacked import are_results
from attrobust.benchmark.store.rows import PassCounts, Provenance
from attrobust.files import read_plain, write_atomically
from attrobust.sealed import opened, sealed
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
ATTACKED, PIECES = "attacked", "pieces"
"""Folders of a run: of the results of attacks, and of scores that are in no row yet."""
NAME = re.compile(r"\d+-\d+(-[0-9a-f]{16})?")
"""Of a file: the first image and the one after the last; then the metrics, of scores."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Scores of some of a cell's images.

    Attributes:
        rows: positions of the images.
        scores: by fingerprint of the metric, its scores and the index of the member that each comes from, see
            ``Store.save_scores``.
        feasible: whether the attack on each image obeyed the rules.
        members: names of what the attack is made of.
        passes, seconds: what these images took.
        provenance: who computed it.
    """

    rows: range
    scores: Mapping[str, tuple[Floats, Integers]]
    feasible: Booleans
    members: tuple[str, ...]
    passes: PassCounts
    seconds: float
    provenance: Provenance


class Pieces:
    """The files of a run that hold parts of cells.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, cell: str, piece: Piece) -> None:
        """Write a piece of a cell, named by a fingerprint."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            metrics=np.array(list(piece.scores), dtype=np.str_),
            values=np.stack([values for values, _ in piece.scores.values()]),
            worst=np.stack([worst for _, worst in piece.scores.values()]),
            feasible=piece.feasible,
            members=np.array(piece.members, dtype=np.str_),
            passes=np.array(msgspec.structs.astuple(piece.passes)),
            seconds=np.array(piece.seconds),
            provenance=np.frombuffer(msgspec.json.encode(piece.provenance), dtype=np.uint8),
        )
        metrics = hashlib.sha256("".join(piece.scores).encode()).hexdigest()[:16]
        _write(self._folder / PIECES / cell / f"{_name(piece.rows)}-{metrics}", buffer.getvalue())

    def of(self, cell: str) -> list[Piece]:
        """All whole pieces of a cell."""
        found = []
        for path in _files(self._folder / PIECES / cell):
            data = _read(path)
            if data is not None and (piece := _piece(_rows(path), data)):
                found.append(piece)
        return found

    def forget(self, cell: str) -> None:
        """Remove the pieces of a cell: its rows say the same."""
        if (self._folder / PIECES / cell).is_dir():
            shutil.rmtree(self._folder / PIECES / cell)

    def keep(self, cell: str, rows: range, results: bytes) -> None:
        """Write the results of the attack of a cell on some images."""
        _write(self._folder / ATTACKED / cell / _name(rows), results)

    def kept(self, cell: str) -> list[range]:
        """The images whose results are there."""
        return [_rows(path) for path in _files(self._folder / ATTACKED / cell)]

    def results(self, cell: str, rows: range) -> bytes:
        """The results of the attack on some images; empty where there are none, or they are damaged."""
        path = self._folder / ATTACKED / cell / _name(rows)
        data = _read(path) or b""
        if data and not are_results(data, len(rows)):
            LOG.warning("%s is damaged; computing it again", path)
            return b""
        return data

    def damaged(self) -> list[Path]:
        """The files that are damaged or another's."""
        return [path for path in self._all() if not _is_whole(path)]

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._all())

    def clean(self) -> int:
        """Remove everything; returns how many bytes that were."""
        size = self.size()
        for name in (ATTACKED, PIECES):
            folder = self._folder / name
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise UsageError(f"{folder} is no folder of a run; remove it yourself")
            if folder.is_dir():
                shutil.rmtree(folder)
        return size

    def _all(self) -> Iterator[Path]:
        for name in (ATTACKED, PIECES):
            for folder in sorted((self._folder / name).glob("*")):
                yield from _files(folder)


def _name(rows: range) -> str:
    return f"{rows.start}-{rows.stop}"


def _rows(path: Path) -> range:
    start, stop, *_ = path.name.split("-")
    return range(int(start), int(stop))


def _files(folder: Path) -> list[Path]:
    """The files of a cell in the order of their images."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_rows(path).start, path.name))


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, sealed(data, _place(path)))


def _read(path: Path, *, quiet: bool = False) -> bytes | None:
    """The contents of a file; None where it is missing, damaged or another's."""
    if not path.is_file():
        return None
    try:
        data = opened(read_plain(path), _place(path))
    except UsageError:
        data = None
    if data is None and not quiet:
        LOG.warning("%s is damaged; computing it again", path)
    return data


def _place(path: Path) -> str:
    """Of a file in the folder of its run."""
    return "/".join(path.parts[-3:])


def _is_whole(path: Path) -> bool:
    """Whether a file is as it was written, and has the form that it should have."""
    data, rows = _read(path, quiet=True), _rows(path)
    if data is None:
        return False
    return are_results(data, len(rows)) if path.parts[-3] == ATTACKED else _piece(rows, data) is not None


def _piece(rows: range, data: bytes) -> Piece | None:
    """What a file says; None where it has the right digest and another form, as another version may give it."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            metrics = arrays["metrics"].tolist()
            pairs = zip(arrays["values"], arrays["worst"], strict=True)
            return Piece(
                rows=rows,
                scores=dict(zip(metrics, pairs, strict=True)),
                feasible=arrays["feasible"],
                members=tuple(arrays["members"].tolist()),
                passes=PassCounts(**dict(zip(PassCounts.__struct_fields__, arrays["passes"].tolist(), strict=True))),
                seconds=float(arrays["seconds"]),
                provenance=msgspec.json.decode(arrays["provenance"].tobytes(), type=Provenance),
            )
    except Exception:  # NumPy, zip files and msgspec raise errors of many classes.
        return None
