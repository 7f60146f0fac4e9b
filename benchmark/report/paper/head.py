"""What of a run an article shows: accuracies and the worst case of every explainer; all else is behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attrobust.benchmark.report.table import ALL, Group, Leaderboard
from attrobust.benchmark.report.verdict.view import verdict_of, with_verdict


def head_of(board: Leaderboard) -> Leaderboard:
    """A leaderboard with accuracies and worst cases alone; blocks over all images where there is no worst case.

    A view stays as it is: somebody chose what it shows.
    """
    if board.style.is_view:
        return board
    kept = () if board.worst else tuple(board.subset(ALL))
    return replace(board, groups=kept or (_rows_of(board.groups[0]),))


def flags_of(boards: Sequence[Leaderboard]) -> list[str]:
    """One line for each leaderboard that names the flags of each of its methods; their reasons are elsewhere."""
    found = []
    for board in with_verdict(boards):
        flagged = [f"{row.name}: {', '.join(row.flags)}" for row in verdict_of(board).rows if row.flags]
        where = f"{board.where}: " if board.where else ""
        found += [f"{where}Flags (!). {'; '.join(flagged)}. leaderboard.md has their reasons."] if flagged else []
    return found


def _rows_of(group: Group) -> Group:
    """A group with its rows and nothing measured of them."""
    return replace(
        group,
        metrics=(),
        lines=tuple(replace(line, numbers=()) for line in group.lines),
        means=tuple(replace(mean, numbers=()) for mean in group.means),
    )
