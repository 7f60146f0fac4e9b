"""Gradients with modified ReLU derivatives: deconvolution and guided backpropagation.

Zeiler and Fergus 2014, Springenberg et al. 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from captum.attr import Deconvolution as CaptumDeconvolution
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import UnderivedExplainer
from attrobust.explainers.captum_engine.rectifiers import rectified
from attrobust.explainers.shared.from_captum import CaptumExplainer


@register("guided-backprop")
@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(CaptumExplainer):
    """The gradient with its negative entries set to zero at every ReLU (Springenberg et al. 2015, arXiv 1412.6806).

    Softplus activations are treated as ReLUs; Captum's own class would give the plain gradient for them.
    """

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        return CaptumGuidedBackprop(rectified(model, image))


@register("deconvolution")
@dataclass(frozen=True, kw_only=True)
class Deconvolution(UnderivedExplainer, CaptumExplainer):
    """Backward pass that rectifies the signal at every ReLU, in place of the ReLU's slope (arXiv 1311.2901).

    Softplus activations are treated as ReLUs. The map depends on ``x`` only through max-pooling and is piecewise
    constant: its derivative is zero.
    """

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        return CaptumDeconvolution(rectified(model, image))
