"""What is wrong with a run on disk, and which of its files and lines that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attrobust.types import UsageError

REPAIR = "verify --repair sets it aside, and the same command computes it again"
"""What to do with a file or a line that is damaged."""


class DamagedError(UsageError):
    """A file of a run that is not as it was written.

    Args:
        path: of the file.
        problem: what is wrong with it.
        hint: what to do.
    """

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        super().__init__(f"{path} {problem}; {hint}")
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with a run.

    Attributes:
        words: what it is.
        files: that are not what they should be.
        lines: of ``rows.jsonl`` that are not, by their number from 1.
    """

    words: str
    files: tuple[Path, ...] = ()
    lines: tuple[int, ...] = ()


def damaged(paths: Iterator[Path] | Sequence[Path]) -> Iterator[Problem]:
    """A problem for every file that is damaged or another's."""
    for path in paths:
        yield Problem(words=f"{path} is damaged; remove it, or let --repair set it aside", files=(path,))
