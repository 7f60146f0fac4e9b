"""What a reader has to know beside the numbers: one line for every flag, and for attacks that broke the rules."""

from __future__ import annotations

from collections.abc import Sequence

from attrobust.benchmark.report import tuned
from attrobust.benchmark.report.choices import note
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.report.words import name
from attrobust.benchmark.store.rows import Contest


def all_notes(boards: Sequence[Leaderboard], *, flags: bool = True, choices: bool = True) -> list[str]:
    """What has to be known beside the numbers: flags and broken rules, and how rows and explainers were chosen."""
    found = []
    for board in boards:
        lines = notes(board) if flags else []
        if choices:
            lines += [*map(note, board.choices), *map(tuned.note, board.tuned)]
        found += [f"{board.where}: {line}" if board.where else line for line in lines]
    return found


def contests(boards: Sequence[Leaderboard]) -> list[str]:
    """One line for every number of tables that was made worse by stronger images after the run."""
    found = []
    for board in boards:
        places = [(group, line) for group in board.subset(board.first_subset, "attack") for line in group.lines]
        for group, line in places:
            for metric, number in zip(group.metrics, line.numbers, strict=True):
                where = ", ".join(filter(None, [board.where, name(line, board), group.title, metric.title]))
                found += [f"{where}: {_contested(contest)}" for contest in number.contests]
    return found


def notes(board: Leaderboard) -> list[str]:
    """One line for every flag, and for every cell in which attacks broke the rules, over all images of the table."""
    found = []
    for line in board.groups[0].lines:
        if line.chance:
            found.append(f"{name(line, board)}: {line.chance.name}: {line.chance.reason}")
        for metric, number in zip(board.accuracies, line.accuracies, strict=True):
            if number.estimate and number.feasible is not None and number.feasible < number.estimate.n:
                found.append(_broken(f"{name(line, board)}, {metric.attack}", number.feasible, number.estimate.n))
    for group in board.subset(board.first_subset, "attack"):
        for line in group.lines:
            shown = name(line, board)
            where = f"{shown}, {group.title}"
            feasible = next((number.feasible for number in line.numbers if number.feasible is not None), group.images)
            if feasible < group.images:
                found.append(_broken(where, feasible, group.images))
            for metric, number in zip(group.metrics, line.numbers, strict=True):
                own = [flag for flag in number.flags if flag not in (*line.flags, line.chance)]
                found += [f"{where}, {metric.title}: {flag.name}: {flag.reason}" for flag in own]
                found += [f"{where}, {metric.title}: {_contested(contest)}" for contest in number.contests]
            found += [f"{shown}, {group.explainer}: {flag.name}: {flag.reason}" for flag in line.flags]
    # A network and an explainer have the same flags under every attack.
    return list(dict.fromkeys(found))


def _contested(contest: Contest) -> str:
    images = "1 image" if contest.improved == 1 else f"{contest.improved} images"
    return f"contested by {contest.by}, whose attack is stronger on {images}"


def _broken(where: str, feasible: int, images: int) -> str:
    return f"{where}: {images - feasible} of {images} attacks were not feasible and count as no attack"
