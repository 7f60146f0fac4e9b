"""A cell evaluated again, watched: what its scores are computed from."""

from __future__ import annotations

from torch import Tensor

from attrobust.attacks.base import Attack
from attrobust.benchmark.boards.opened import Opener, attack_of, explainer_of, metric_of, rules_of
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Kept
from attrobust.benchmark.evaluation.watching import Sight, Watch
from attrobust.maps.seeds import derive_seed
from attrobust.process import seeded
from attrobust.types import UsageError


def watched(
    cell: StoredCell, opener: Opener, rows: range, *, attack: Attack | None = None, kept: Kept | None = None
) -> tuple[list[Sight], Tensor]:
    """Evaluate some images of a cell as its run did; for each result of the attack what was seen of the images.

    Args:
        cell: on disk.
        opener: of its board.
        rows: positions of the images, in one batch.
        attack: in the place of the cell's.
        kept: results of the cell's attack that need not be computed.

    Returns:
        What was seen, and which attacks were feasible, bool[B].

    Raises:
        UsageError: something that the cell was computed with is not there, has changed, or fails.
    """
    row, facts = cell.rows[0], cell.rows[0].cell
    found: list[Sight] = []
    watch = Watch(metrics=tuple(metric_of(item.metric) for item in cell.rows), seed=facts.seed, take=found.append)
    lent = None if attack or kept else opener.source_model(cell)
    with seeded(derive_seed("job", facts.seed)):
        scores = evaluate(
            opener.network(cell),
            explainer_of(facts),
            attack or attack_of(facts),
            [watch],
            opener.images(row),
            rules_of(facts, len(rows)),
            source_model=lent,
            rows=rows,
            kept=kept,
        )
    for failure in scores.failures.values():
        raise UsageError(failure.error)
    return found, scores.feasible
