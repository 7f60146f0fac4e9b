"""Atomic file writes and file hashes.

A file written here is complete or absent, whenever the process is killed; durability in a power cut is left to the file
system.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

UNFINISHED = ".attrobust-tmp"
"""Suffix of temporary files; one left after a crash can be deleted."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under another name, flush it to disk, then rename it over ``path``; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_words(count: float) -> str:
    """A number of bytes in the unit that suits: ``12 kB``, ``3.4 MB``, ``1.2 GB``."""
    for power, unit in ((3, "GB"), (2, "MB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{max(1, round(count / 1000))} kB"
