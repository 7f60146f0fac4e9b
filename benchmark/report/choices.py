"""Choices in words: a table while they are made, a note under the leaderboard."""

from __future__ import annotations

from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.store.choice import Candidate, Choice
from attrobust.types import percent


def table(choice: Choice) -> list[str]:
    """Every candidate with its numbers, the chosen one marked."""
    columns = [("", "accuracy", choice.metric.title, "")]
    for item in choice.candidates:
        score = "" if item.score is None else Metric.of(choice.metric).text(item.score)
        columns.append((item.label, _accuracy(item), score, _verdict(choice, item)))
    widths = [max(len(row[column]) for row in columns) for column in range(3)]
    lines = [
        f"  {label:<{widths[0]}}  {accuracy:>{widths[1]}}  {score:>{widths[2]}}  {verdict}".rstrip()
        for label, accuracy, score, verdict in columns
    ]
    return [f"{choice.sweep} on the validation split: {_basis(choice)}", *lines]


def note(choice: Choice) -> str:
    """What a reader of the leaderboard has to know of a row that was chosen, or of why none was."""
    if choice.best is None:
        return f"{choice.sweep}: {reason(choice)}"
    count = len(choice.candidates)
    where = f"from the {count} of {choice.sweep} on the validation split"
    return f"{choice.best.label} was chosen {where}: best {_basis(choice)}"


def reason(choice: Choice) -> str:
    """Why no member was chosen, with every accuracy."""
    found = [f"{item.label} {item.problem or _accuracy(item)}" for item in choice.candidates]
    return f"nothing to choose from with {_floor(choice)}: {', '.join(found)}"


def _basis(choice: Choice) -> str:
    where = f"{choice.metric.label} under {choice.attack} for {choice.explainer}"
    return f"{where} on its first {choice.images} images, with {_floor(choice)}"


def _floor(choice: Choice) -> str:
    if choice.least is None:
        return "a known accuracy"
    how = "" if choice.floor is not None else " (2 points below the sweep's best)"
    return f"an accuracy of at least {percent(choice.least, '.2f')}{how}"


def _accuracy(item: Candidate) -> str:
    return "" if item.accuracy is None else percent(item.accuracy, ".2f")


def _verdict(choice: Choice, item: Candidate) -> str:
    if item is choice.best:
        return "chosen"
    return item.problem or ("" if choice.allows(item) else "below the floor")
