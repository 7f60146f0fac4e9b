"""The plain gradient: Simonyan et al. 2014."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.gradient import input_gradient


@register("saliency")
@dataclass(frozen=True, kw_only=True)
class Saliency(Explainer):
    """Gradient of the explained logit, ``∇_x f_c(x)``, signed (Simonyan et al. 2014, arXiv 1312.6034)."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits per pixel unit."""
        return input_gradient(model, x, target, create_graph=create_graph)
