"""What an evaluation sees: attacked images, their maps and scores, taken down as they are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.metrics.shared.case import Case
from attrobust.process import seeded


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A batch of one result of an attack.

    Attributes:
        clean, attacked: images, B×C×H×W.
        clean_attributions, attacked_attributions: signed, B×C×H×W, as they are scored.
        target: the explained classes, int64[B].
        scores: for each metric that is watched, float64[B].
    """

    clean: Tensor
    attacked: Tensor
    clean_attributions: Tensor
    attacked_attributions: Tensor
    target: Tensor
    scores: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Watch(CaseMetric):
    """Stands in the place of metrics: computes them, and hands on what they were computed from.

    Attributes:
        metrics: that are watched.
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
