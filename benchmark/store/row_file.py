"""The file of a run's rows, ``rows.jsonl``: written at its end alone, read line by line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attrobust.benchmark.store.damage import REPAIR
from attrobust.benchmark.store.lines import Lines, is_as_dumped, line_of, names_of
from attrobust.benchmark.store.rows import Row
from attrobust.benchmark.store.schema import SCHEMA
from attrobust.benchmark.store.upgrade import OtherVersionError
from attrobust.files import append, check_size, write_atomically
from attrobust.naming.validate import as_json, parsed
from attrobust.types import UsageError

START = b'{"cell":'
"""How every line starts, its keys being sorted."""
MISNAMED, CHANGED = ": its fingerprint is not that of its cell and metric", " is not as the run wrote it"
"""Problems of a line, as they go on after the words for its row."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of ``rows.jsonl``.

    Attributes:
        number: from 1.
        row: that it holds; None where it holds none.
        problem: why it is not what the run wrote; empty where it is.
    """

    number: int
    row: Row | None
    problem: str


class RowFile:
    """The rows on disk.

    Args:
        path: of the file, which is made on first write.

    Attributes:
        path: as above.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, Row]:
        """All whole rows by fingerprint, of every schema that is read; where one was written again, the newest."""
        return {row.fingerprint: row for _, row in self._read()}

    def examined(self) -> Iterator[Line]:
        """Every line of the rows, with what is wrong with it; a torn last one too. Raises as ``rows`` for versions."""
        lines = Lines()
        for number, (where, line) in enumerate(self._lines(torn=True), start=1):
            try:
                row = lines.row(line)
                key, again = names_of(line)
            except OtherVersionError as error:
                raise _unread(where, error) from error
            except ValueError as error:
                yield Line(number=number, row=None, problem=f"{where} is damaged ({error})")
                continue
            problem = ""
            if again != key:
                problem = MISNAMED
            elif not row.is_as_written or (row.digest and not is_as_dumped(line)):
                problem = CHANGED
            yield Line(number=number, row=row, problem=problem)

    def check(self) -> None:
        """Raise UsageError for the first row that is not as the run wrote it: a run would go on from it."""
        for where in self.changed():
            raise UsageError(f"{where}{CHANGED}; {REPAIR}")

    def changed(self) -> Iterator[str]:
        """Where every row stands that is not as the run wrote it; raises as ``rows``."""
        return (where for where, row in self._read() if not row.is_as_written)

    def _read(self) -> Iterator[tuple[str, Row]]:
        """Where every whole row stands, and the row; raises UsageError where a line is none."""
        lines = Lines()
        for where, line in self._lines():
            try:
                row = lines.row(line)
            except OtherVersionError as error:
                raise _unread(where, error) from error
            except ValueError as error:
                raise _damaged(where, line, error) from error
            yield where, row

    def _lines(self, *, torn: bool = False) -> Iterator[tuple[str, bytes]]:
        """Where every whole line of the rows stands, and what it says; with ``torn`` a last line that is not, too."""
        if self.path.is_file():
            check_size(self.path)
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if torn or line.endswith(b"\n"):
                        yield f"{self.path} line {number}", line

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows at the end; they have reached the disk when this returns, and none is left when it fails."""
        append(self.path, b"".join(line_of(as_json(row.signed())) for row in rows))

    def without(self, numbers: Sequence[int]) -> None:
        """Write the file again without some lines, atomically."""
        kept = [line for number, line in enumerate(self.read(), start=1) if number not in set(numbers)]
        write_atomically(self.path, b"".join(kept))

    def read(self) -> list[bytes]:
        """Every line as it is, a torn one too."""
        return [line for _, line in self._lines(torn=True)]

    def mend_end(self) -> None:
        """Remove the torn last line that a killed process left."""
        if self.path.is_file() and not _ends_in_newline(self.path):
            whole = self.path.read_bytes()
            write_atomically(self.path, whole[: whole.rfind(b"\n") + 1])

    def check_ours(self) -> None:
        """Raise UsageError where the file is none of rows."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                start = file.read(len(START))
            if not START.startswith(start):
                raise UsageError(f"{self.path} was not written by a run; choose another --out")


def _ends_in_newline(path: Path) -> bool:
    """Whether a file is empty or its last line is whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _damaged(where: str, line: bytes, error: ValueError) -> UsageError:
    """What is said of a line that is no row."""
    try:
        parsed(line)
    except ValueError as problem:
        return UsageError(f"{where} is damaged ({problem}); {REPAIR}")
    return UsageError(f"{where} is no row of schema {SCHEMA} ({error}); {REPAIR}")


def _unread(where: str, error: OtherVersionError) -> UsageError:
    return UsageError(f"{where} is no row of schema {SCHEMA} ({error}); choose another --out")
