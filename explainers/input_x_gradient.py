"""Input times gradient: Shrikumar et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass

from captum.attr import InputXGradient as CaptumInputXGradient
from torch import Tensor, nn

from explainers import register
from explainers.captum import CaptumExplainer


@register("input-x-gradient")
@dataclass(frozen=True, kw_only=True)
class InputXGradient(CaptumExplainer):
    """``x ⊙ ∇_x f_c(x)`` in pixel units (Shrikumar et al. 2016, arXiv 1605.01713)."""

    def attribute(self, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        """B×C×H×W, logits."""
        maps: Tensor = CaptumInputXGradient(model).attribute(x, target=target)
        return maps
