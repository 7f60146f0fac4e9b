"""Small pictures of a run's attacked maps, as files that a page takes in. Imports no torch."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from attrobust.benchmark.store.rows import ScoredRow
from attrobust.files import read_plain, write_atomically
from attrobust.types import UsageError

THUMBNAILS = "thumbnails"
"""Folder of a run."""
LARGEST = 40_000
"""Bytes of a picture; a larger file is left aside."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Thumbnails:
    """The small pictures of a run, by row and image; those of scores that have changed since are not found.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / THUMBNAILS

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return self._folder.is_dir()

    def save(self, row: str, scores_sha256: str, image: int, png: bytes) -> None:
        """Write a picture.

        Args:
            row: fingerprint of the row whose score it shows.
            scores_sha256: of the per-image scores of the row.
            image: position in the list of images.
            png: the file.

        Raises:
            UsageError: the folder cannot be written.
        """
        try:
            write_atomically(self._path(row, scores_sha256, image), png)
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be written: {error.strerror}") from error

    def of(self, row: ScoredRow, image: int) -> bytes | None:
        """The picture of an image; None where there is none, or the file is no PNG or too large."""
        path = self._path(row.fingerprint, row.scores_sha256, image)
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        data = path.read_bytes()
        return data if data.startswith(SIGNATURE) else None

    def damaged(self) -> list[Path]:
        """The pictures whose checksums are not those of what they hold."""
        return [path for path in sorted(self._folder.glob("*/[!.]*.png")) if not _is_whole(path)]

    def _path(self, row: str, scores_sha256: str, image: int) -> Path:
        return self._folder / row / f"{scores_sha256[:16]}-{image}.png"


def _is_whole(path: Path) -> bool:
    """Whether a file is a PNG from its signature to its end, each part of which has the checksum that it names."""
    try:
        data = read_plain(path)
        if not data.startswith(SIGNATURE):
            return False
        at, kind = len(SIGNATURE), b""
        while kind != b"IEND":
            (size,) = struct.unpack_from(">L", data, at)
            kind, part = data[at + 4 : at + 8], data[at + 4 : at + 8 + size]
            if struct.unpack_from(">L", data, at + 8 + size) != (zlib.crc32(part),):
                return False
            at += 12 + size
    except (UsageError, struct.error):
        return False
    return at == len(data)
