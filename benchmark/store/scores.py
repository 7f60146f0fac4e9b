"""Files of per-image scores: one a row while a run is made, all in one archive where they are published."""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from attrobust.benchmark.store.damage import DamagedError
from attrobust.files import read_plain, write_atomically
from attrobust.types import UsageError

FOLDER = "scores"
ARCHIVE = "scores.zip"
"""Published boards have it in the place of the folder: thousands of small files make a repository slow."""
TIME = (1980, 1, 1, 0, 0, 0)
"""Of every member, so that equal files make equal archives."""
ENCRYPTED = 0x1
"""Bit of a member's flags."""


class ScoreFiles:
    """The files of scores of one run, by the fingerprint of their row.

    A file of the folder comes before a member of the archive with the same name.

    Args:
        run: the folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self.archive = run / ARCHIVE

    def path(self, fingerprint: str) -> Path:
        """Where the scores of a row are written."""
        return self.folder / f"{fingerprint}.npz"

    def read(self, fingerprint: str) -> bytes | None:
        """The file of a row; None where there is none.

        Raises:
            UsageError: the archive is damaged.
        """
        path = self.path(fingerprint)
        if path.is_file():
            return read_plain(path)
        if path.name not in self._members:
            return None
        return self._content(path.name)

    def write(self, fingerprint: str, data: bytes) -> None:
        """Write the file of a row, atomically."""
        write_atomically(self.path(fingerprint), data)

    def pack(self) -> None:
        """Move all files of the folder into the archive; equal files make the same archive, byte for byte."""
        names = {path.stem for path in self.folder.glob("*.npz")} | {Path(name).stem for name in self._members}
        if not names:
            return
        packed = _packed({f"{name}.npz": data for name in names if (data := self.read(name)) is not None})
        self._forget()
        write_atomically(self.archive, packed)
        for path in self.folder.glob("*.npz"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def is_archive_as_packed(self) -> bool:
        """Whether the archive is what ``pack`` makes of its members, byte for byte; raises as ``read`` does."""
        if not self.archive.is_file():
            return True
        members = {name: self._content(name) for name in self._members}
        return read_plain(self.archive) == _packed(members)

    def _content(self, name: str) -> bytes:
        try:
            return self._opened.read(name)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
            raise self._damaged(error) from error

    @functools.cached_property
    def _members(self) -> frozenset[str]:
        """Names of the archive's members. They are stored as they are, so that none is larger than the archive."""
        if not self.archive.is_file():
            return frozenset()
        infos = self._opened.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED for info in infos):
            raise self._damaged("its members are compressed or encrypted")
        return frozenset(info.filename for info in infos)

    @functools.cached_property
    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.archive)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self._damaged(error) from error

    def _forget(self) -> None:
        """Close the archive, which is about to be another."""
        if "_opened" in self.__dict__:
            self._opened.close()
        for name in ("_opened", "_members"):
            self.__dict__.pop(name, None)

    def _damaged(self, why: object) -> UsageError:
        return DamagedError(self.archive, f"is damaged ({why})", "put back the file that was published")


def _packed(members: Mapping[str, bytes]) -> bytes:
    """An archive of files by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, TIME), members[name])
    return buffer.getvalue()
