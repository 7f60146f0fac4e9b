"""Spectral or Frobenius norm of the input Hessian."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import (
    Objective,
    Product,
    check_objective,
    largest_curvature,
    length,
    second_order,
)
from attrobust.naming.checks import at_least
from attrobust.types import Scope


@register("hessian-norm")
@dataclass(frozen=True, kw_only=True)
class HessianNorm(Quality):
    """Norm of the input Hessian, ``||∇²_x ℓ||``, at the clean image, per pixel unit squared; spectral or Frobenius.

    The spectral norm, the gradient's largest rate of change over all directions, comes from power iteration, which
    approaches it from below. The Frobenius norm is Hutchinson's estimate ``√((1/n) Σ ||H v_k||²)`` with vectors of
    random signs, whose square is without bias; Dombrowski et al. (arXiv 2012.10425) penalise it, with Gaussian vectors.

    For a network with piecewise linear activations, such as ReLU, the logit's is undefined (NaN): its gradient changes
    only at kinks, where the second derivative does not exist. The loss's is that of softmax alone, which tends to 0 as
    the network's confidence rises.

    Attributes:
        by: the norm, ``spectral`` or ``frobenius``.
        of: the function that is differentiated: the ``loss``, cross-entropy to the explained class, or its ``logit``.
        iterations: of power iteration, for the spectral norm.
        samples: random vectors, for the Frobenius norm.
    """

    by: Literal["spectral", "frobenius"] = "spectral"
    of: Objective = "loss"
    iterations: int = 20
    samples: int = 30

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    scope: ClassVar[Scope] = "network"
    presets: ClassVar[Mapping[str, Mapping[str, str]]] = {"lcnn": {"by": "spectral", "of": "loss", "iterations": "10"}}

    def __post_init__(self) -> None:
        if self.by not in ("spectral", "frobenius"):
            raise ValueError(f"by={self.by} must be spectral or frobenius")
        check_objective(self.of)
        at_least(1, self, "iterations", "samples")

    @property
    def title(self) -> str:
        """E.g. ``spectral norm of the loss's Hessian``."""
        return f"{self.by} norm of the {self.of}'s Hessian"

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Metric.without_effect``."""
        return frozenset({"samples" if self.by == "spectral" else "iterations"})

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        _, product = second_order(case.model, case.clean, case.target, self.of)
        return self._spectral(product, case) if self.by == "spectral" else self._frobenius(product, case)

    def _spectral(self, product: Product, case: Case) -> Tensor:
        start = case.streams("hessian-norm").normal(case.clean)
        return length(largest_curvature(product, start, self.iterations)[1])

    def _frobenius(self, product: Product, case: Case) -> Tensor:
        streams = case.streams("hessian-norm")
        squares = [length(product(streams.normal(case.clean).sign())).square() for _ in range(self.samples)]
        return (sum(squares[1:], squares[0]) / self.samples).sqrt()
