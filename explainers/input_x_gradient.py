"""Input times gradient: Shrikumar et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.gradient import input_gradient


@register("input-x-gradient")
@dataclass(frozen=True, kw_only=True)
class InputXGradient(Explainer):
    """Input times gradient, ``x ⊙ ∇_x f_c(x)``, in pixel units (Shrikumar et al. 2016, arXiv 1605.01713)."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        return x * input_gradient(model, x, target, create_graph=create_graph)
