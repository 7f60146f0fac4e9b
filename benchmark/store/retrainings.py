"""Which test images networks trained anew recognise, on disk: a file for each training, with a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from attrobust.files import read_plain, write_atomically
from attrobust.types import UsageError

RETRAININGS, SUFFIX = "retrainings", ".hits"
"""Folder of a run, and of its files, which are named by what decides the training."""


def write_hits(path: Path, hits: list[bool]) -> None:
    """Write whether each image is recognised."""
    marks = bytes(b"01"[hit] for hit in hits)
    write_atomically(path, _digest(path.stem, marks) + b"\n" + marks)


def read_hits(path: Path) -> list[bool] | None:
    """Whether each image is recognised; None where the file is damaged or of another training."""
    try:
        digest, _, marks = read_plain(path).partition(b"\n")
    except UsageError:
        return None
    return [mark == b"1"[0] for mark in marks] if digest == _digest(path.stem, marks) else None


def damaged_hits(run: Path) -> Iterator[Path]:
    """The files in the folder of a run that are damaged or of another training."""
    return (path for path in sorted((run / RETRAININGS).glob(f"[!.]*{SUFFIX}")) if read_hits(path) is None)


def _digest(key: str, marks: bytes) -> bytes:
    """Of a result and of the training it is of, so that files that changed places are known."""
    return hashlib.sha256(key.encode() + marks).hexdigest().encode()
