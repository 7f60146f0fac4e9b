"""Max- and average-sensitivity, the change of a map under random perturbations: Yeh et al. 2019."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.naming.checks import above_zero, at_least, in_pixel_units
from attrobust.threat import format_eps
from attrobust.types import Scope


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Quality, kind=True):
    """Base class: ``‖Φ(x + δ) - Φ(x)‖₂ / ‖Φ(x)‖₂`` for random δ in a linf ball, Φ signed attributions of ``target``.

    Perturbed images are not clamped to [0, 1]: as in the paper's code and in Captum, draws are from the whole ball. Max
    and average use the same draws. NaN where the attributions of the image are zero everywhere, or any are not finite.
    (The paper's code divides the largest change so far by ``‖Φ(x)‖`` at every draw again, and Quantus divides by
    ``‖x‖``; neither is done here.)

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
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "yeh": {"radius": "0.2", "samples": "50", "flips": "keep"},
        "captum": {"radius": "0.02", "samples": "10", "flips": "keep"},
    }

    def __post_init__(self) -> None:
        above_zero(self, "radius")
        in_pixel_units(self, "radius")
        at_least(1, self, "samples")

    @abstractmethod
    def pooled(self, changes: Tensor, kept: Tensor) -> Tensor:
        """The score of every image from the changes under all draws, float[B].

        Args:
            changes: of every draw, samples×B, 0 where it was dropped.
            kept: bool samples×B; the result is not used for images with no draw kept.
        """

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        base = case.clean_attributions
        largest = base.abs().amax(dim=(1, 2, 3), keepdim=True)
        length = (base / largest).flatten(1).norm(dim=1)
        predicted = case.model(case.clean).argmax(dim=1)
        streams = case.streams("sensitivity")
        changes, kept = [], []
        for _ in range(self.samples):
            moved = case.clean + self.radius * streams.uniform(case.clean)
            difference = (case.explain(moved, case.target) - base) / largest
            changes.append(difference.flatten(1).norm(dim=1) / length)
            predicted_now = case.model(moved).argmax(dim=1) if self.flips == "drop" else predicted
            kept.append(predicted_now == predicted)
        all_changes, counted = torch.stack(changes), torch.stack(kept)
        all_changes = all_changes.masked_fill(~all_changes.isfinite(), float("nan")).masked_fill(~counted, 0.0)
        return self.pooled(all_changes, counted).masked_fill(~counted.any(dim=0), float("nan"))


@register("max-sensitivity")
@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Sensitivity):
    """Largest relative change of the map over random δ in a linf ball, ``max_δ ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖``.

    From arXiv 1901.09392; see ``Sensitivity``.
    """

    @property
    def title(self) -> str:
        """E.g. ``max-sensitivity (8/255)``."""
        return f"max-sensitivity ({format_eps(self.radius)})"

    def pooled(self, changes: Tensor, kept: Tensor) -> Tensor:  # noqa: ARG002
        """See ``Sensitivity.pooled``."""
        return changes.amax(dim=0)


@register("avg-sensitivity")
@dataclass(frozen=True, kw_only=True)
class AvgSensitivity(Sensitivity):
    """Mean relative change of the map over random δ in a linf ball, ``mean_δ ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖``.

    From arXiv 1901.09392; see ``Sensitivity``.
    """

    @property
    def title(self) -> str:
        """E.g. ``avg-sensitivity (8/255)``."""
        return f"avg-sensitivity ({format_eps(self.radius)})"

    def pooled(self, changes: Tensor, kept: Tensor) -> Tensor:
        """See ``Sensitivity.pooled``."""
        return changes.sum(dim=0) / kept.sum(dim=0)
