"""The metrics of a cell at work: one that raises fails alone."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import torch
from torch import Tensor

from attrobust.benchmark.evaluation.cases import Cases, ExplanationError
from attrobust.benchmark.evaluation.scores import Failure
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.base import CaseMetric
from attrobust.naming.safe import reason
from attrobust.networks.copying import independent_copy
from attrobust.process import seeded


class Scoring:
    """Copies of the metrics of a cell.

    Args:
        metrics: of the cell.
        seed: of the evaluation.

    Attributes:
        failures: what went wrong so far, by the index of the metric.
        higher_is_better: of each metric.
    """

    def __init__(self, metrics: Sequence[CaseMetric], seed: int) -> None:
        self.failures: dict[int, Failure] = {}
        self.higher_is_better = [type(metric).higher_is_better for metric in metrics]
        self._metrics = [independent_copy(metric) for metric in metrics]
        self._seed = derive_seed("metric", seed)

    @property
    def over(self) -> bool:
        """Whether all metrics have failed, so that nothing more need be attacked."""
        return bool(self._metrics) and len(self.failures) == len(self._metrics)

    def score(self, cases: Cases) -> list[Tensor]:
        """Scores of a batch on the CPU, for every metric float64 results×B; NaN for one that has failed.

        Raises:
            ExplanationError: there are no maps to score.
        """
        return [self._scores(index, cases) for index in range(len(self._metrics))]

    def _scores(self, index: int, cases: Cases) -> Tensor:
        if index not in self.failures:
            metric = self._metrics[index]
            try:
                with seeded(self._seed):
                    return torch.stack([metric.score(case).cpu() for case in cases.of(metric)])
            except ExplanationError:
                raise
            except Exception as error:  # whatever a plug-in raises
                line = f"metric {type(metric).__name__}: {reason(error)}"
                self.failures[index] = Failure(error=line, traceback=traceback.format_exc())
        return torch.full(cases.shape, torch.nan, dtype=torch.float64)
