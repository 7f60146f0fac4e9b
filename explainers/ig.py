"""Integrated gradients: Sundararajan et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captum.attr import IntegratedGradients
from torch import Tensor, nn

from explainers import register
from explainers.captum import CaptumExplainer


@register("ig")
@dataclass(frozen=True, kw_only=True)
class IG(CaptumExplainer):
    """``(x - x0) ⊙ ∫ ∇f_c(x0 + t (x - x0)) dt`` along the line from a flat grey x0 (arXiv 1703.01365, equation 1).

    Attributes:
        steps: points of the quadrature.
        rule: Captum's name of the quadrature.
        baseline: grey level of x0 in pixel units; 0 is black.
    """

    steps: int = 32
    rule: Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"] = (
        "gausslegendre"
    )
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"steps={self.steps} must be at least 2")
        if not 0 <= self.baseline <= 1:
            raise ValueError(f"baseline={self.baseline:g} must be a grey level between 0 and 1")

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """B×C×H×W, logits; sums to ``f_c(x) - f_c(x0)`` up to the quadrature error."""
        maps: Tensor = IntegratedGradients(model).attribute(
            x, baselines=self.baseline, target=target, n_steps=self.steps, method=self.rule
        )
        return maps
