"""What trainings cost, as a column of a page and as a fact of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrobust.benchmark.report.table import Leaderboard

Json = dict[str, object]
MEANING = (
    "epochs times the forward, backward and double-backward passes of a step, with those of the weights that a "
    "training went on from"
)


def costs_of(board: Leaderboard) -> dict[str, float]:
    """Passes of an image in training by sha256 of the weights, as far as the runs of a table say."""
    plans = [store.plan() for store in board.stores]
    return {
        subject.sha256: plan.passes[subject.label]
        for plan in plans
        if plan.passes
        for subject in plan.subjects
        if subject.label in plan.passes and subject.sha256
    }


def training_column(board: Leaderboard) -> Json:
    """The column."""
    return {
        **{"table": board.where, "threat": board.comparison.threat, "subset": "", "images": 0},
        **{"explainer": "", "attack": "", "kind": "training", "group": "training", "metric": "passes of each image"},
        **{"higher": False, "range": [], "settings": [["passes", MEANING]]},
    }


def training_numbers(board: Leaderboard, costs: Mapping[str, float]) -> Iterator[Json | None]:
    """What stands in the column for every network, then for every mean over seeds; None where it is not known.

    Sanity-check baselines have none: what they show is not what was trained.
    """
    lines, means = board.groups[0].lines, board.groups[0].means
    for line in lines:
        yield None if line.baseline else _number([line.sha256], costs)
    for mean in means:
        yield _number([line.sha256 for line in lines if line.method == mean.method], costs)


def _number(networks: Sequence[str], costs: Mapping[str, float]) -> Json | None:
    known = [costs[sha256] for sha256 in networks if sha256 in costs]
    if not known or len(known) < len(networks):
        return None
    value = sum(known) / len(known)
    return {"status": "ok", "text": f"{value:,.0f}", "value": float(f"{value:.7g}")}
