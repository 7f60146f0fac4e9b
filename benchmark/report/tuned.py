"""Choices of explainers' settings in words: a table while they are made, a note under the leaderboard."""

from __future__ import annotations

from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.store.explainer_choice import ExplainerChoice


def table(choice: ExplainerChoice) -> list[str]:
    """Every setting with its mean, the chosen one marked."""
    columns = [("", choice.metric.title, "")]
    for item in choice.candidates:
        score = "" if item.score is None else Metric.of(choice.metric).text(item.score)
        columns.append((item.label, score, "chosen" if item is choice.best else item.problem))
    widths = [max(len(row[column]) for row in columns) for column in range(2)]
    lines = [f"  {label:<{widths[0]}}  {score:>{widths[1]}}  {verdict}".rstrip() for label, score, verdict in columns]
    return [f"{choice.sweep} on the validation split: {_basis(choice)}", *lines]


def note(choice: ExplainerChoice) -> str:
    """What a reader of the leaderboard has to know of a column whose settings were chosen, or of why none were."""
    if choice.best is None:
        found = ", ".join(f"{item.label} {item.problem}" for item in choice.candidates)
        return f"{choice.sweep}: nothing to choose from ({found}); {choice.shown}, the first, is shown"
    where = f"from the {len(choice.candidates)} of {choice.sweep} on the validation split"
    return f"{choice.shown} was chosen for all rows {where}: best {_basis(choice)}"


def _basis(choice: ExplainerChoice) -> str:
    networks = len({trial.network for trial in choice.candidates[0].trials if trial.sha256})
    mean = f"mean over {networks} networks, " if networks > 1 else ""
    return f"{choice.metric.label}, {mean}on its first {choice.images} images"
