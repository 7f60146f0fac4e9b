"""What audits found, on disk: a file for each, written the moment it ends, so that none is made again."""

from __future__ import annotations

import logging
from pathlib import Path

from attrobust.benchmark.store.lines import is_as_dumped, line_of
from attrobust.benchmark.store.rows import Signed
from attrobust.files import read_plain, write_atomically
from attrobust.naming.validate import MisfitError, as_json, parsed, validated
from attrobust.types import Flag, UsageError

LOG = logging.getLogger("attrobust")
AUDITS = "audits"
"""Folder of a run."""


class Audit(Signed, frozen=True, kw_only=True):
    """The contents of a file.

    Attributes:
        key: fingerprint of all that decides the flags; the name of the file, too.
        flags: that were raised.
        seconds: that it took.
    """

    key: str
    flags: tuple[Flag, ...]
    seconds: float


class Audits:
    """The audits of a run.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / AUDITS

    def save(self, audit: Audit) -> None:
        """Write what an audit found."""
        write_atomically(self._path(audit.key), line_of(as_json(audit.signed())))

    def of(self, key: str) -> Audit | None:
        """What an audit found; None where it was not made, or its file is damaged or another's."""
        path = self._path(key)
        if not path.is_file():
            return None
        found = _read(path)
        if found is None:
            LOG.warning("%s is damaged; auditing again", path)
        return found

    def damaged(self) -> list[Path]:
        """The files that are damaged or another's."""
        return [path for path in sorted(self._folder.glob("[!.]*.json")) if _read(path) is None]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _read(path: Path) -> Audit | None:
    """The contents of a file; None where they are not as they were written, or belong elsewhere."""
    try:
        data = read_plain(path)
        found: Audit = validated(parsed(data), Audit)
    except (MisfitError, ValueError, UsageError):
        return None
    return found if found.key == path.stem and found == found.signed() and is_as_dumped(data) else None
