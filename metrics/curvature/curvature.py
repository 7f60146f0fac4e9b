"""Normalised curvature: Srinivas et al., NeurIPS 2022."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality, Scope
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import Objective, check_objective, largest_curvature, length, second_order
from attrobust.naming.checks import at_least

DAMPING = 1e-6
"""The ε of the definition, in units of the gradient's norm."""


@register("curvature")
@dataclass(frozen=True, kw_only=True)
class Curvature(Quality):
    """``||H||₂ / (||∇ℓ||₂ + 1e-6)``, the Hessian's largest eigenvalue in size over the gradient (arXiv 2206.07144).

    Both are with respect to the clean image, in pixel units. It says by how much of itself the gradient can change in
    the worst direction, per unit of l2 distance. The eigenvalue is found by power iteration from a random start, which
    approaches it from below. As the paper defines it, the number tends to 0 where the gradient is shorter than 1e-6, as
    the loss's is at images that the network is very sure of; the logit's is not.

    The official code takes ``|⟨v, H v⟩|`` of the last iterate v; here it is ``||H v||₂``, which is the same for
    eigenvectors and never farther from the truth. Of a network with kinked activations, such as ReLU, the logit's is
    undefined (NaN): what bends is in the kinks, which no second derivative sees.

    Attributes:
        of: what is differentiated, the ``loss``, cross-entropy to the explained class, or the ``logit`` of that class.
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
