"""The contract of a retraining metric: it trains networks on images that were changed according to maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from attrobust.metrics.base import Metric
from attrobust.types import Scope, SplitName


@dataclass(frozen=True, kw_only=True)
class RetrainingContext:
    """The context of a retraining metric.

    Attributes:
        images: of every split, in [0, 1], N×C×H×W, on the CPU.
        maps: of every image of a split, N×H×W on the CPU, as the protocol reduces them, of the class that the scored
            network predicts; computed at the first call.
        mean: colour of removed pixels, float[C].
        seed: of the evaluation.
        retrain: from the changed images of every split and a seed to bool[N]: whether a network trained on them from
            scratch classifies each changed test image correctly. The epoch is chosen on the validation split. Results
            are cached: each set of images and seed is trained once.
    """

    images: Mapping[SplitName, Tensor]
    maps: Callable[[SplitName], Tensor]
    mean: Tensor
    seed: int
    retrain: Callable[[Mapping[SplitName, Tensor], int], Tensor]


@dataclass(frozen=True, kw_only=True)
class RetrainingMetric(Metric, kind=True):
    """A retraining metric: scores an explainer by training other networks. Subclasses are frozen dataclasses."""

    scope: ClassVar[Scope] = "training"

    @abstractmethod
    def evaluate(self, context: RetrainingContext) -> Tensor:
        """Evaluate the metric, which an author writes.

        Returns:
            float64 repeats×N: for every repeat a number for every test image, whose mean over the images is the score;
            NaN where undefined.
        """

    @property
    @abstractmethod
    def trainings(self) -> int:
        """Number of networks that ``evaluate`` trains."""

    @final
    def score(self, context: RetrainingContext) -> Tensor:
        """The metric's checked result; called by the harness.

        Returns:
            float64 repeats×N, on the CPU; NaN where undefined.

        Raises:
            ValueError: ``evaluate`` returned something else.
        """
        count = len(context.images["test"])
        return torch.stack([self._checked(row, count, "evaluate").cpu() for row in self.evaluate(context)])
