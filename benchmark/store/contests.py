"""Rows that stronger images made worse after the run: which row stands for which, and the images that show it.

A row of a run is never changed. A contested row stands beside it, with a fingerprint of its own, and keeps for every
image the worst score of all. Its images lie in ``contests/``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from attrobust.arrays import Floats, Integers
from attrobust.benchmark.store.rows import Contest, Row, ScoredRow, contested_fingerprint, row_fingerprint
from attrobust.files import file_sha256, write_atomically
from attrobust.naming.validate import as_json
from attrobust.types import UsageError

FOLDER = "contests"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Attacked images of some positions of a list.

    Attributes:
        x: float32 N×C×H×W in [0, 1].
        ids: position of each in the list of images that the table is about.
    """

    x: Floats
    ids: Integers


def key_of(row: Row) -> str:
    """The fingerprint of a row's cell and metric: its own, or that of the row of the run that it contests."""
    if not (isinstance(row, ScoredRow) and row.contests):
        return row.fingerprint
    return row_fingerprint(asdict(row.cell), as_json(row.metric))


def standing(rows: Mapping[str, Row]) -> dict[str, Row]:
    """By fingerprint of cell and metric the row that tables show: of contested ones that of the last contest."""
    found = {key: row for key, row in rows.items() if not (isinstance(row, ScoredRow) and row.contests)}
    contested = [row for row in rows.values() if isinstance(row, ScoredRow) and row.contests]
    for row in sorted(contested, key=lambda row: len(row.contests)):
        if (key := key_of(row)) in found:
            found[key] = row
    return found


def before(row: ScoredRow, rows: Mapping[str, Row]) -> Row | None:
    """The row that a contested one was before its last contest; None where it is not there."""
    key, earlier = key_of(row), row.contests[:-1]
    return rows.get(contested_fingerprint(key, as_json(earlier)) if earlier else key)


def with_contest(row: ScoredRow, contest: Contest) -> ScoredRow:
    """A row with one contest more, and the fingerprint that it then has."""
    contests = (*row.contests, contest)
    return replace(row, contests=contests, fingerprint=contested_fingerprint(key_of(row), as_json(contests)), digest="")


def write_images(folder: Path, shown: Shown) -> str:
    """Keep the images of a contest in the folder of a run; returns the sha256 of the file, which is its name."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=shown.x.astype(np.float32), ids=shown.ids)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    write_atomically(_path(folder, digest), buffer.getvalue())
    return digest


def read_images(folder: Path, sha256: str) -> Shown:
    """The images of a contest; raises UsageError where the file is missing or another one."""
    path = _path(folder, sha256)
    if not path.is_file():
        raise UsageError(f"{path} is missing: the images of a contest are part of the board; restore the file")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UsageError(f"{path} is not the file that its row was written with; restore the file")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Shown(x=arrays["x"], ids=arrays["ids"])
    except Exception as error:  # Whatever somebody put there is no reason to fail.
        raise UsageError(f"{path} does not hold the images of a contest ({error}); restore the file") from error


def damaged_images(folder: Path) -> list[Path]:
    """The files of contests of a run that are not what their names say."""
    paths = sorted((folder / FOLDER).glob("[!.]*.npz"))
    return [path for path in paths if not path.is_file() or file_sha256(path) != path.stem]


def _path(folder: Path, sha256: str) -> Path:
    return folder / FOLDER / f"{sha256}.npz"


def contested(rows: Mapping[str, Row]) -> Sequence[ScoredRow]:
    """All contested rows."""
    return [row for row in rows.values() if isinstance(row, ScoredRow) and row.contests]
