"""What every rendering says in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from attrobust.benchmark.report.table import ALL, Group, Leaderboard, Line, Mean, Metric
from attrobust.benchmark.store.schema import How

INTERVALS: dict[How, str] = {"percentile": "bootstrap", "bca": "BCa bootstrap"}
SEEDS = "; of several training seeds the mean and ± its standard error over the seeds"
SPREAD = "Worst image / 5 % quantile / median, over all images"


def caption(board: Leaderboard) -> str:
    """What the rows have in common, in one sentence."""
    facts = board.comparison
    explained = "the model's own prediction" if facts.label == "predicted" else "the true class"
    audited = "" if board.audited else ", not audited"
    kept = ", prediction kept" if facts.keep_prediction else ""
    return (
        f"Protocol {facts.protocol}: {facts.dataset}, {facts.model}, {facts.images} test images, "
        f"{facts.threat} in pixel units{kept}, {facts.reduction} maps of {explained}{audited}."
    )


def legend(board: Leaderboard) -> str:
    """How to read the numbers."""
    under = [f", under {item.attack} on the attacked images" for item in board.accuracies if item.attack]
    seeds = "" if not board.groups[0].means else SEEDS
    marked = "marked entries are the best and those that no other can be told apart from and above"
    return (
        f"Mean over images with its 95 % {INTERVALS[board.interval]} interval{seeds}; accuracy is on the whole test "
        f"split{''.join(under)}; {marked} (paired over images, false discoveries held at 5 % over the table). "
        "An exclamation mark is a flag: see the notes."
    )


def subset_title(subset: str, images: int) -> str:
    """Which images groups are about."""
    if subset == ALL:
        return f"All {images} images"
    return f"The {images} images that every evaluated network classifies correctly"


def header(metric: Metric, others: Sequence[Metric]) -> str:
    """A column's title; what was typed for it where another column has the same title."""
    return metric.label if sum(other.title == metric.title for other in others) > 1 else metric.title


def name(line: Line, board: Leaderboard) -> str:
    """A row's name, with its training seed and a fingerprint where these tell rows of one name apart."""
    lines = board.groups[0].lines
    shown = method_name(line, lines)
    if line.seed is not None and len({other.seed for other in lines if other.seed is not None}) > 1:
        shown += f" (seed {line.seed})"
    twins = [other for other in lines if (other.method, other.seed) == (line.method, line.seed)]
    return f"{shown} [{line.key[:8]}]" if len(twins) > 1 else shown


def mean_name(mean: Mean, group: Group) -> str:
    """What the row of a method over its training seeds is called."""
    return f"{method_name(mean, group.lines)}, mean of {mean.seeds} seeds"


def method_name(item: Line | Mean, lines: Sequence[Line]) -> str:
    """What was typed, with a fingerprint where something else makes several methods of it, such as the recipe."""
    several = len({line.method for line in lines if line.label == item.label}) > 1
    return f"{item.label} [{item.method[:8]}]" if several else item.label
