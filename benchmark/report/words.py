"""What every rendering says in the same words."""

from __future__ import annotations

from benchmark.report.leaderboard import ALL, Group, Leaderboard, Line


def caption(board: Leaderboard) -> str:
    """What the rows have in common, in one sentence."""
    facts = board.comparison
    explained = "the model's own prediction" if facts["label"] == "predicted" else "the true class"
    kept = ", prediction kept" if facts["keep_prediction"] else ""
    return (
        f"Protocol {facts['protocol']}: {facts['dataset']}, {facts['model']}, {facts['images']} test images, "
        f"{facts['threat']} in pixel units{kept}, {facts['reduction']} maps of {explained}."
    )


def legend() -> str:
    """How to read the numbers."""
    return (
        "Mean over images with its 95 % bootstrap interval; accuracy is on the whole test split; "
        "marked entries are the best and those not distinguishable from it (paired over images, 5 %)."
    )


def subset_title(group: Group) -> str:
    """Which images a group is about."""
    if group.subset == ALL:
        return f"All {group.images} images"
    return f"The {group.images} images that every network classifies correctly"


def name(line: Line, board: Leaderboard) -> str:
    """A row's name, with its training seed where a table has several."""
    seeds = {other.seed for group in board.groups for other in group.lines if other.seed is not None}
    return f"{line.label} (seed {line.seed})" if len(seeds) > 1 and line.seed is not None else line.label
