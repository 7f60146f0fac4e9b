"""Metrics that need training of their own: what networks learn from images that were changed according to maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from attrobust.metrics.base import Metric, Scope

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a study works with.

    Attributes:
        images: of every split, in [0, 1], N×C×H×W, on the CPU.
        maps: of every image of a split, N×H×W on the CPU, as the protocol reduces them, of the class the judged network
            predicts; computed at the first call.
        mean: colour of a pixel that tells nothing, float[C].
        seed: of the evaluation.
        retrain: from the changed images of every split and a seed: bool[N], whether a network trained anew on them
            classifies each of the changed test images right; the epoch is chosen on the validation split. The same
            images and seed are trained on once, whoever asks.
    """

    images: Mapping[SplitName, Tensor]
    maps: Callable[[SplitName], Tensor]
    mean: Tensor
    seed: int
    retrain: Callable[[Mapping[SplitName, Tensor], int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Study(Metric, kind=True):
    """Judges an explainer with its network by training others. Subclasses are frozen dataclasses of their settings."""

    scope: ClassVar[Scope] = "training"

    @abstractmethod
    def conduct(self, bench: Bench) -> Tensor:
        """What an author writes.

        Returns:
            float64 repeats×N: for every repeat a number for every test image, whose mean over the images is the score;
            NaN where undefined.
        """

    @property
    @abstractmethod
    def trainings(self) -> int:
        """How many networks ``conduct`` asks for."""

    @final
    def score(self, bench: Bench) -> Tensor:
        """What the harness asks.

        Returns:
            float64 repeats×N, on the CPU; NaN where undefined.

        Raises:
            ValueError: ``conduct`` returned something else.
        """
        count = len(bench.images["test"])
        return torch.stack([self._checked(row, count, "conduct").cpu() for row in self.conduct(bench)])
