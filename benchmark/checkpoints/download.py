"""Downloads a weight file: whole or not at all, and going on where an interrupted download stopped."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from tqdm import tqdm

from attrobust.files import file_sha256, size_words
from attrobust.naming.safe import first_line, line
from attrobust.types import UsageError

LOG = logging.getLogger("attrobust")
ATTEMPTS = 3
"""Connections that are made before an interrupted download is left to the next command."""
PATIENCE = 30.0
"""Seconds without an answer after which a connection counts as lost."""
PIECE = 1 << 16
"""Bytes that are read at once, at most."""
SLOWEST = 1 << 10
"""Bytes a second, below which over ``PATIENCE`` seconds a connection counts as lost."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file that is downloaded.

    Attributes:
        name: as errors call it.
        url: with the scheme ``https``, ``http`` or ``file``.
        sha256, size: of its bytes, and their number.
    """

    name: str
    url: str
    sha256: str
    size: int


class _InterruptedError(Exception):
    """The connection was lost; what has arrived is kept."""


def download(remote: Remote, path: Path) -> None:
    """Download a file unless it is there, and check its bytes before it gets its name.

    What has arrived lies in ``path`` with ``.part`` added. Of several processes one downloads and the others wait.

    Raises:
        UsageError: no connection, no such file, other bytes than expected, or no room to write.
    """
    part = path.with_name(f"{path.name}.part")
    with _alone(remote, path):
        if path.is_file() and file_sha256(path) == remote.sha256:
            return
        LOG.info("%s: downloading %s from %s", remote.name, size_words(remote.size), remote.url)
        resumed = _obtain(remote, part, path)
        if resumed and file_sha256(part) != remote.sha256:
            # What an earlier command left may be of another file.
            part.unlink()
            _obtain(remote, part, path)
        if (found := file_sha256(part)) != remote.sha256:
            part.unlink()
            raise UsageError(
                f"{remote.name}: {remote.url} has other bytes than published (sha256 {found[:12]}, not "
                f"{remote.sha256[:12]}); nothing is used of them"
            )
        part.replace(path)


@contextmanager
def _alone(remote: Remote, path: Path) -> Iterator[None]:
    """Keep other processes from downloading to the same path; waits for one that does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            LOG.info("%s: another process is downloading it; waiting", remote.name)
            lock.acquire()
    except OSError as error:
        raise _unwritable(remote, path, error) from error
    try:
        yield
    finally:
        lock.release()


def _obtain(remote: Remote, part: Path, path: Path) -> bool:
    """Fill ``part`` up to the size of the file; returns whether some of it was there before.

    Raises:
        UsageError: it does not succeed; ``path`` is where errors tell a user to put the file.
    """
    resumed = part.is_file() and 0 < part.stat().st_size <= remote.size
    if not resumed:
        part.unlink(missing_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _go_on(remote, part)
            return resumed
        except HTTPError as error:
            raise UsageError(f"{remote.name}: {remote.url} answers {error.code} {line(str(error.reason))}") from error
        except URLError as error:
            place = urlsplit(remote.url).hostname or remote.url
            raise UsageError(
                f"{remote.name}: no connection to {place} ({line(str(error.reason))}); try again, or put the file "
                f"there yourself: {path}"
            ) from error
        except _InterruptedError as error:
            if attempt == ATTEMPTS:
                there = size_words(part.stat().st_size) if part.is_file() else "nothing"
                raise UsageError(
                    f"{remote.name}: the download of {remote.url} broke off ({error}) with {there} of "
                    f"{size_words(remote.size)}; the same command goes on there"
                ) from error
    raise AssertionError("every attempt returns or raises")


def _go_on(remote: Remote, part: Path) -> None:
    """Make one connection and append to ``part`` what it lacks."""
    have = part.stat().st_size if part.is_file() else 0
    if have == remote.size:
        return
    with _opened(remote, have) as answer:
        if have and not _goes_on_at(answer, have):
            have = 0
        try:
            file = part.open("ab" if have else "wb")
        except OSError as error:
            raise _unwritable(remote, part, error) from error
        bar = tqdm(
            total=remote.size,
            initial=have,
            desc=f"download {remote.name}",
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
        )
        with file, bar:
            for piece in _pieces(answer):
                have += len(piece)
                if have > remote.size:
                    break
                try:
                    file.write(piece)
                except OSError as error:
                    raise _unwritable(remote, part, error) from error
                bar.update(len(piece))
    if have > remote.size:
        part.unlink()
        raise UsageError(
            f"{remote.name}: {remote.url} is larger than the published {remote.size:,} bytes; nothing is used of it"
        )
    if have < remote.size:
        raise _InterruptedError("the connection was closed")


def _opened(remote: Remote, have: int) -> Any:
    """The answer of the server to a request for all that follows the first ``have`` bytes."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        return urlopen(Request(remote.url, headers=headers), timeout=PATIENCE)
    except HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _opened(remote, 0)
        if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _InterruptedError(f"{error.code} {error.reason}") from error
        raise
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _InterruptedError(line(first_line(error))) from error
    except ValueError as error:  # of addresses that no one can have, also of one that an answer refers to
        raise UsageError(f"{remote.name}: {remote.url} leads to no address ({line(first_line(error))})") from error


def _goes_on_at(answer: Any, have: int) -> bool:
    """Whether the answer begins after the first ``have`` bytes; a server may send the whole file instead."""
    return bool(answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"))


def _pieces(answer: Any) -> Iterator[bytes]:
    """What arrives, as it does; a connection on which hardly anything arrives counts as lost."""
    began, arrived = time.monotonic(), 0
    while True:
        try:
            piece = answer.read1(PIECE)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise _InterruptedError(line(first_line(error))) from error
        if not piece:
            return
        yield piece
        arrived += len(piece)
        if (seconds := time.monotonic() - began) > PATIENCE:
            if arrived < SLOWEST * seconds:
                raise _InterruptedError(f"{arrived} bytes in {seconds:.0f} seconds")
            began, arrived = time.monotonic(), 0


def _unwritable(remote: Remote, path: Path, error: OSError) -> UsageError:
    return UsageError(f"{remote.name}: {path} cannot be written: {error.strerror}")
