"""Base class of metrics that compare the map of an image with those of random neighbours of the image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.naming.checks import above_zero, at_least, in_pixel_units
from attrobust.threat import format_eps
from attrobust.types import Scope

Measure = Callable[[Tensor], Tensor]
"""Moved images B×C×H×W to what is measured of each beside its own image, float[B]."""


@dataclass(frozen=True, kw_only=True)
class NeighbourMetric(Quality, kind=True):
    """Base class: the largest of what is measured under random moves δ, uniform in a linf ball.

    Moved images are not clamped to [0, 1]: draws are from the whole ball. All metrics of this kind use the same draws.
    NaN where a measure is not finite.

    Attributes:
        radius: of the ball, in pixel units.
        samples: draws for each image.
        flips: whether to ``keep`` or to ``drop`` draws whose prediction differs from the image's; NaN where all were
            dropped.
    """

    radius: float = 8 / 255
    samples: int = 10
    flips: Literal["keep", "drop"] = "keep"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        above_zero(self, "radius")
        in_pixel_units(self, "radius")
        at_least(1, self, "samples")

    @property
    def ball(self) -> str:
        """The radius as titles have it, e.g. ``8/255``."""
        return format_eps(self.radius)

    @abstractmethod
    def measure(self, case: Case) -> Measure:
        """What is measured of moved images; what belongs to the images themselves is computed here, once."""

    def pooled(self, changes: Tensor, kept: Tensor) -> Tensor:  # noqa: ARG002
        """The score of every image from what was measured under all draws, float[B]; here the largest.

        Args:
            changes: of every draw, samples×B, 0 where it was dropped.
            kept: bool samples×B; the result is not used for images with no draw kept.
        """
        return changes.amax(dim=0)

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        measure = self.measure(case)
        predicted = case.model(case.clean).argmax(dim=1)
        streams = case.streams("sensitivity")
        changes, kept = [], []
        for _ in range(self.samples):
            moved = case.clean + self.radius * streams.uniform(case.clean)
            changes.append(measure(moved))
            predicted_now = case.model(moved).argmax(dim=1) if self.flips == "drop" else predicted
            kept.append(predicted_now == predicted)
        all_changes, counted = torch.stack(changes), torch.stack(kept)
        all_changes = all_changes.masked_fill(~all_changes.isfinite(), float("nan")).masked_fill(~counted, 0.0)
        return self.pooled(all_changes, counted).masked_fill(~counted.any(dim=0), float("nan"))
