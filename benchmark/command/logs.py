"""Where a run says what it does: on stderr, and with times and tracebacks in a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrobust.naming.safe import line, lines

LOG = logging.getLogger("attrobust")


class _ToFile(logging.Handler):
    """A log handler that writes to the end of a file; where the disk is full, the rows are what matters.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("ab", buffering=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if that is possible."""
        with suppress(OSError):
            self._file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _AboveBars(logging.Handler):
    """A log handler that writes to stderr without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        from tqdm import tqdm

        tqdm.write(line(self.format(record)), file=sys.stderr)


class _Readable(logging.Formatter):
    """Leaves nothing in a file that a terminal obeys when the file is shown."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record; those of a traceback stay lines."""
        return lines(super().format(record))


def _is_for_screen(record: logging.LogRecord) -> bool:
    """Whether a message goes to stderr; what the bar shows on a terminal does not."""
    shown_by_bar = getattr(record, "is_progress", False) and sys.stderr.isatty()
    return not (record.exc_info or getattr(record, "file_only", False) or shown_by_bar)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Inside the block, log messages go to stderr and, with times and tracebacks, to a file."""
    to_file = _ToFile(path)
    to_file.setFormatter(_Readable("%(asctime)s %(levelname)s %(message)s"))
    to_screen = _AboveBars()
    to_screen.setLevel(logging.INFO)
    to_screen.addFilter(_is_for_screen)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    handlers: list[logging.Handler] = [to_file, to_screen]
    for handler in handlers:
        LOG.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()
