"""The plain gradient: Simonyan et al. 2014."""

from __future__ import annotations

from dataclasses import dataclass

from captum.attr import Saliency as CaptumSaliency
from torch import Tensor, nn

from explainers import register
from explainers.captum import CaptumExplainer


@register("saliency")
@dataclass(frozen=True, kw_only=True)
class Saliency(CaptumExplainer):
    """Gradient of the explained logit, ``∇_x f_c(x)``, signed (Simonyan et al. 2014, arXiv 1312.6034)."""

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """B×C×H×W, logits per pixel unit."""
        maps: Tensor = CaptumSaliency(model).attribute(x, target=target, abs=False)
        return maps
