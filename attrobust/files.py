"""Atomic file writes, reads of plain files alone, and file hashes.

A file written here is complete or absent, whenever the process is killed; durability in a power cut is left to the file
system.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrobust.machine import memory
from attrobust.naming.file_names import not_a_file
from attrobust.types import UsageError

UNFINISHED = ".attrobust-tmp"
"""Suffix of temporary files; one left after a crash can be deleted."""
SMALL = 2**28
"""Bytes of a file that is read whatever the system says of its free memory."""
ABANDONED = 600.0
"""Seconds after which a temporary file is nobody's: each takes less to be written."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under another name, flush it to disk, then rename it over ``path``; folders are made."""
    data = content.encode() if isinstance(content, str) else content
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=UNFINISHED)
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


def append(path: Path, data: bytes) -> None:
    """Add bytes at the end of a file; they have reached the disk when this returns, and none is left when it fails."""
    # Without a buffer, which would be written when the file is closed, after it was cut to its length before.
    with _naming(path), path.open("ab", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), length)
            raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system say which file it is about."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_plain(path: Path) -> bytes:
    """The bytes of a plain file.

    Raises:
        UsageError: it is a folder, a pipe or a device, cannot be read, or is larger than the free memory.
    """
    try:
        if problem := not_a_file(path):
            raise UsageError(f"{path} {problem}")
        check_size(path)
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def check_size(path: Path) -> None:
    """Raise UsageError for a file that does not fit into the free memory, as one of holes may not; OSError for none."""
    size = path.stat().st_size
    if size > SMALL and size > memory():  # The system is asked for large files only: there are thousands of small ones.
        raise UsageError(f"{path} is larger than the free memory: {size_words(size)}; move it away")


def sweep(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder that nobody locks."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


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
