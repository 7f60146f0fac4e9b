"""What is worth knowing at the end of a command: flags, failures, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from attrobust.benchmark.report.table import Leaderboard, Line, Number


def closing_lines(
    boards: Sequence[Leaderboard], runs: Sequence[str], formats: Sequence[str], *, full: bool
) -> list[str]:
    """Two lines, and a third where something is left to type.

    Args:
        boards: of what was printed.
        runs: arguments with which ``report`` shows them again; none for a view.
        formats: that were written.
        full: whether all blocks were printed.
    """
    numbers = [pair for board in boards for pair in _numbers(board)]
    flagged = dict.fromkeys(line.label for line, number in numbers if number.flags)
    names = dict.fromkeys(flag.name for _, number in numbers for flag in number.flags)
    lost = [line.label for line, number in numbers if number.estimate is None]
    again = "the command of the run tries them again"
    more = ["--full"] if not full else ["--export", "html"] if "html" not in formats else []
    # A folder whose name begins like an option is one by its path.
    folders = [f"./{run}" if run.startswith("-") and not run.startswith("--") else run for run in runs]
    words = ["run_benchmark.py", *(["report", *folders, *more] if more else ["figures", *folders])]
    # Figures know no names of versions.
    ends = not runs or (not more and any(store.version for board in boards for store in board.stores))
    return [
        f"flags: {', '.join(flagged)} ({', '.join(names)})" if flagged else "flags: none",
        f"failed: {len(lost)} numbers, of {', '.join(dict.fromkeys(lost))}; {again}" if lost else "failed: none",
        *([] if ends else [f"next: {shlex.join(words)}"]),
    ]


def _numbers(board: Leaderboard) -> Iterator[tuple[Line, Number]]:
    """Every number that was measured, once."""
    for group in (board.accuracy, *board.subset(board.first_subset)):
        yield from ((line, number) for line in group.lines for number in line.numbers)
