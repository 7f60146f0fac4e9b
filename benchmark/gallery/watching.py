"""What the evaluation of a cell sees: attacked images, their maps and scores, taken down as they are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.attacks.base import Attack
from attrobust.benchmark.boards.opened import Opener, attack_of, explainer_of, metric_of, rules_of
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.evaluation.evaluate import evaluate
from attrobust.benchmark.evaluation.inputs import Kept
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.shared.case import Case
from attrobust.process import seeded
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A batch of one result of an attack.

    Attributes:
        clean, attacked: images, B×C×H×W.
        clean_attributions, attacked_attributions: signed, B×C×H×W, as they are scored.
        target: the explained classes, int64[B].
        scores: for each metric of the cell, float64[B].
    """

    clean: Tensor
    attacked: Tensor
    clean_attributions: Tensor
    attacked_attributions: Tensor
    target: Tensor
    scores: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Watch(CaseMetric):
    """Stands in the place of the metrics of a cell: computes them, and hands on what they were computed from.

    Attributes:
        metrics: of the cell.
        seed: of the evaluation.
        take: called for each result of the attack on a batch; a function, so that copies of this metric share it.
    """

    metrics: tuple[CaseMetric, ...]
    seed: int
    take: Callable[[Sight], None]

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def score(self, case: Case) -> Tensor:
        """Zeros."""
        scores = []
        for metric in self.metrics:
            with seeded(derive_seed("metric", self.seed)):
                scores.append(metric.score(case).cpu())
        maps = case.clean_attributions, case.attacked_attributions
        clean, attacked, before, after = (item.detach().cpu().clone() for item in (case.clean, case.attacked, *maps))
        self.take(
            Sight(
                clean=clean,
                attacked=attacked,
                clean_attributions=before,
                attacked_attributions=after,
                target=case.target.cpu().clone(),
                scores=scores,
            )
        )
        return torch.zeros(len(clean), dtype=torch.float64)


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
