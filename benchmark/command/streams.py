"""stdout and stderr as a command finds them: closed, full, or of an encoding that lacks the characters of tables."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from attrobust.naming.safe import message_of

STDOUT = "stdout"
HANDLER = "attrobust-plain"
PLAIN = {"↑": "^", "↓": "v", "×": "x", "±": "+-", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "·": "*"}
"""What stands for characters that an encoding lacks; others are escaped."""
TEMPORARY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a disk that is full, or that failed."""


NO_MEMORY, NO_THREAD = ("can't allocate memory", "std::bad_alloc"), "can't start new thread"
"""Of RuntimeErrors, by torch and Python."""


class _Named(io.TextIOWrapper):
    """stdout, whose errors say so."""

    def write(self, text: str) -> int:
        """As the base class does."""
        with _of_stdout():
            return super().write(text)

    def flush(self) -> None:
        """As the base class does."""
        with _of_stdout():
            super().flush()


@contextmanager
def _of_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from error


class _Lenient(io.TextIOWrapper):
    """A stream of messages that stops nobody's work where it cannot be written."""

    def write(self, text: str) -> int:
        """As the base class does, if that is possible."""
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """As the base class does, if that is possible."""
        try:
            super().flush()
        except OSError:
            return


def prepare() -> None:
    """Give this process three streams that can be written to, or fail when they are, whatever it was started with.

    A file that is opened later must not take the place of a stream that was closed.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        # As it is open for reading only, a write says that stdout was closed.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    codecs.register_error(HANDLER, _in_plain_characters)
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = _Named(sys.stdout.detach(), encoding, HANDLER, line_buffering=by_line)
    if isinstance(sys.stderr, io.TextIOWrapper):
        encoding = sys.stderr.encoding
        sys.stderr = _Lenient(sys.stderr.detach(), encoding, "backslashreplace", line_buffering=True)


def close(code: int) -> int:
    """Write what stdout still holds; returns the exit code, which is 2 where that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and code != 2:
            sys.stderr.write(f"error: {in_words(error)}\n")
            code = 2
        # Python writes it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def in_words(error: OSError) -> str:
    """An error of the operating system in one line."""
    if error.filename == STDOUT:
        return f"stdout cannot be written: {error.strerror}; what was computed is in its files"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open; what was computed is kept: allow more (ulimit -n 1024), or take fewer workers"
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    hint = "; what was computed is kept: make room, and type the same command again"
    return f"{where}{error.strerror or error}{hint if where and error.errno in TEMPORARY else ''}"


def exhausted(error: BaseException) -> str:
    """What of the machine an exception says is used up, in one line; empty where it says something else."""
    text = message_of(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(sign in text for sign in NO_MEMORY)):
        return "there is not enough memory; what was computed is kept: free some, and type the same command again"
    if isinstance(error, RuntimeError) and NO_THREAD in text:
        return "the system lets this user start no more threads (ulimit -u); what was computed is kept"
    return ""


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(
        PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text
    ), error.end
