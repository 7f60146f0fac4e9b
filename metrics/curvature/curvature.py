"""Normalised curvature of loss or logit: Srinivas et al., NeurIPS 2022."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import Objective, check_objective, largest_curvature, length, second_order
from attrobust.naming.checks import at_least
from attrobust.types import Scope

DAMPING = 1e-6
"""The ε of the definition, in units of the gradient's norm."""


@register("curvature")
@dataclass(frozen=True, kw_only=True)
class Curvature(Quality):
    """Normalised curvature, ``||H||₂ / (||∇ℓ||₂ + 1e-6)``, the spectral norm over the gradient's (arXiv 2206.07144).

    Both are with respect to the clean image, in pixel units. It is the largest relative change of the gradient, over
    all directions, per unit of l2 distance. The norm is found by power iteration from a random start, which approaches
    it from below. The number tends to 0 where the gradient is shorter than 1e-6, as the loss's is at images that the
    network classifies with high confidence; the logit's is not.

    The official code takes ``|⟨v, H v⟩|`` of the last iterate v; here it is ``||H v||₂``, which is the same for
    eigenvectors and never farther from the exact norm. For a network with piecewise linear activations, such as ReLU,
    the logit's is undefined (NaN): its gradient changes only at kinks, where the second derivative does not exist.

    Attributes:
        of: the function that is differentiated: the ``loss``, cross-entropy to the explained class, or its ``logit``.
        iterations: of power iteration.
    """

    of: Objective = "loss"
    iterations: int = 20

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    scope: ClassVar[Scope] = "network"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"lcnn": {"of": "loss", "iterations": "10"}}

    def __post_init__(self) -> None:
        check_objective(self.of)
        at_least(1, self, "iterations")

    @property
    def title(self) -> str:
        """E.g. ``curvature of the loss``."""
        return f"curvature of the {self.of}"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        first, product = second_order(case.model, case.clean, case.target, self.of)
        start = case.streams("curvature").normal(case.clean)
        _, steepest = largest_curvature(product, start, self.iterations)
        return length(steepest) / (length(first) + DAMPING)
