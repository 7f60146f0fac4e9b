"""How to read a verdict, in words."""

from __future__ import annotations

from collections.abc import Sequence

from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.verdict.view import Verdict, verdict_of
from attrobust.benchmark.report.words import told


def reading(boards: Sequence[Leaderboard], verdicts: Sequence[Verdict]) -> str:
    """What rank, unbeaten and so on mean, of the columns that the verdicts have."""
    rows = [row for verdict in verdicts for row in verdict.rows]
    said = []
    if any(value.rank for row in rows for value in (*row.accuracies, *row.values)):
        said.append(
            "(1) is a rank: one more than the methods that are better and can be told from it; equal ranks tie, "
            "and methods that tie are listed by their means."
        )
    if any(verdict.counted for verdict in verdicts):
        bases = "; ".join(told(boards, lambda board: verdict_of(board).basis))
        said.append(f"unbeaten: in how many columns the rank is 1. These count: {bases}.")
    attacks = dict.fromkeys(metric.attack for board in boards for metric in board.accuracies if metric.attack)
    if attacks:
        under = ", ".join(f"under {attack}" for attack in attacks)
        said.append(f"accuracy: on the whole test split; {under}: on the attacked images.")
    if any(column.words[0].startswith("worst ") for verdict in verdicts for column in verdict.columns):
        said.append("worst: of each image the score under the attack that does most to it, then the mean over images.")
    if any(row.passes is not None for row in rows):
        said.append("passes: how often an image goes through the network in training.")
    if any(row.flags for row in rows):
        said.append("!: flagged; flags: how many kinds.")
    return " ".join(said)
