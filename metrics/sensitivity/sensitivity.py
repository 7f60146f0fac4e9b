"""Max- and average-sensitivity, the change of a map under random perturbations: Yeh et al. 2019."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.neighbours import Measure, NeighbourMetric


@dataclass(frozen=True, kw_only=True)
class Sensitivity(NeighbourMetric, kind=True):
    """Base class: ``‖Φ(x + δ) - Φ(x)‖₂ / ‖Φ(x)‖₂`` for random δ in a linf ball, Φ signed attributions of ``target``.

    Perturbed images are not clamped to [0, 1], as in the paper's code and in Captum. NaN where the attributions of the
    image are zero everywhere, or any are not finite. (The paper's code divides the largest change so far by ``‖Φ(x)‖``
    at every draw again, and Quantus divides by ``‖x‖``; neither is done here.)
    """

    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "yeh": {"radius": "0.2", "samples": "50", "flips": "keep"},
        "captum": {"radius": "0.02", "samples": "10", "flips": "keep"},
    }

    def measure(self, case: Case) -> Measure:
        """See ``NeighbourMetric.measure``."""
        base = case.clean_attributions
        largest = base.abs().amax(dim=(1, 2, 3), keepdim=True)
        length = (base / largest).flatten(1).norm(dim=1)

        def change(moved: Tensor) -> Tensor:
            difference = (case.explain(moved, case.target) - base) / largest
            relative: Tensor = difference.flatten(1).norm(dim=1) / length
            return relative

        return change


@register("max-sensitivity")
@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Sensitivity):
    """Largest relative change of the map over random δ in a linf ball, ``max_δ ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖``.

    From arXiv 1901.09392; see ``Sensitivity``.
    """

    @property
    def title(self) -> str:
        """E.g. ``max-sensitivity (8/255)``."""
        return f"max-sensitivity ({self.ball})"


@register("avg-sensitivity")
@dataclass(frozen=True, kw_only=True)
class AvgSensitivity(Sensitivity):
    """Mean relative change of the map over random δ in a linf ball, ``mean_δ ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖``.

    From arXiv 1901.09392; see ``Sensitivity``.
    """

    @property
    def title(self) -> str:
        """E.g. ``avg-sensitivity (8/255)``."""
        return f"avg-sensitivity ({self.ball})"

    def pooled(self, changes: Tensor, kept: Tensor) -> Tensor:
        """See ``NeighbourMetric.pooled``."""
        return changes.sum(dim=0) / kept.sum(dim=0)
