"""Integrated gradients: Sundararajan et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer, check_grey
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.gradient import input_gradient


@register("ig")
@dataclass(frozen=True, kw_only=True)
class IG(Explainer):
    """Integrated gradients from a flat grey x0, ``(x - x0) ⊙ ∫ ∇f_c(x0 + t (x - x0)) dt`` (arXiv 1703.01365).

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
        check_grey("baseline", self.baseline)

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits; sums to ``f_c(x) - f_c(x0)`` up to the quadrature error."""
        weights_of, points_of = approximation_parameters(self.rule)
        weights, points = weights_of(self.steps), points_of(self.steps)

        def part(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
            t = images.new_tensor(points[span]).view(1, -1, 1, 1, 1)
            path = (self.baseline + t * (images - self.baseline)[:, None]).flatten(0, 1)
            labels = target[rows].repeat_interleave(t.numel())
            gradients = input_gradient(model, path, labels, create_graph=graph).view(len(images), -1, *x.shape[1:])
            return torch.einsum("n,bnchw->bchw", images.new_tensor(weights[span]), gradients)

        return (x - self.baseline) * accumulate(part, model, x, self.steps, create_graph=create_graph)
