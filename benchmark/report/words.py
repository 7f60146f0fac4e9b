"""What every rendering says in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.report.table import ALL, Group, Leaderboard, Line, Metric


def caption(board: Leaderboard) -> str:
    """What the rows have in common, in one sentence."""
    facts = board.comparison
    explained = "the model's own prediction" if facts["label"] == "predicted" else "the true class"
    audited = "" if board.audited else ", not audited"
    kept = ", prediction kept" if facts["keep_prediction"] else ""
    return (
        f"Protocol {facts['protocol']}: {facts['dataset']}, {facts['model']}, {facts['images']} test images, "
        f"{facts['threat']} in pixel units{kept}, {facts['reduction']} maps of {explained}{audited}."
    )


def legend(board: Leaderboard) -> str:
    """How to read the numbers."""
    under = [f", under {item.attack} on the attacked images" for item in board.accuracies if item.attack]
    return (
        f"Mean over images with its 95 % bootstrap interval; accuracy is on the whole test split{''.join(under)}; "
        "marked entries are the best and those not distinguishable from it (paired over images, 5 %). "
        "An exclamation mark is a flag: see the notes."
    )


def subset_title(group: Group) -> str:
    """Which images a group is about."""
    if group.subset == ALL:
        return f"All {group.images} images"
    return f"The {group.images} images that every evaluated network classifies correctly"


def header(metric: Metric, others: Sequence[Metric]) -> str:
    """A column's title; what was typed for it where another column has the same title."""
    return metric.label if sum(other.title == metric.title for other in others) > 1 else metric.title


def name(line: Line, board: Leaderboard) -> str:
    """A row's name, with its training seed and fingerprint where these tell rows of one name apart."""
    lines = board.groups[0].lines
    shown = line.label
    if line.seed is not None and len({other.seed for other in lines if other.seed is not None}) > 1:
        shown += f" (seed {line.seed})"
    twins = [other for other in lines if (other.label, other.seed) == (line.label, line.seed)]
    return f"{shown} [{line.key[:8]}]" if len(twins) > 1 else shown
