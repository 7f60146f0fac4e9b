"""Grad-CAM and Guided Grad-CAM, from the channels of one layer: Selvaraju et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from captum.attr import GuidedGradCam as CaptumGuidedGradCam
from torch import Tensor, nn
from torch.nn import functional

from attrobust.explainers import register
from attrobust.explainers.base import Explainer
from attrobust.explainers.captum_engine.rectifiers import rectified
from attrobust.explainers.shared.from_captum import CaptumExplainer
from attrobust.explainers.shared.layers import Named, feature_map
from attrobust.naming.suggest import did_you_mean
from attrobust.networks.private_copy import private_copy


@dataclass(frozen=True, kw_only=True)
class LayerExplainer(Explainer):
    """An explainer that uses the output of one layer.

    Attributes:
        layer: dotted path of the layer; where it is empty, the last module whose output is a feature map, as in the
            papers. Its output may also have channels last, or tokens on a grid, which are put back in their places.
            Of a network that computes with tokens the layer must be named.
    """

    layer: str = ""

    def layer_of(self, model: nn.Module, network: nn.Module, image: Tensor, how: str) -> tuple[nn.Module, Named]:
        """The layer of a copy of a network, and how its output lies.

        Args:
            model, network, image, how: as for ``feature_map``.

        Raises:
            ValueError: it has none of that name, or no feature map.
        """
        modules: dict[str, nn.Module] = dict(network.named_modules())
        if self.layer and self.layer not in modules:
            near = did_you_mean(self.layer, list(modules)) or " Its layers are those of named_modules()"
            raise ValueError(f"the network has no layer {self.layer!r}.{near}")
        named = feature_map(model, network, image, how, self.layer)
        return modules[named.name], named


@register("gradcam")
@dataclass(frozen=True, kw_only=True)
class GradCam(LayerExplainer):
    """Grad-CAM, ``ReLU(Σ_k mean(∂f_c/∂A_k) A_k)`` of a layer's channels A_k, upsampled (arXiv 1610.02391, equation 2).

    The map has one channel; every channel of the image gets an equal share of it, so that their sum is the Grad-CAM
    map. Values are those of Captum's ``LayerGradCam``.

    Attributes:
        interpolation: how the layer's map is upsampled.
        rectified: whether the ReLU is applied; Captum's default is not to.
    """

    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    rectified: bool = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W."""
        network = private_copy(model, x)
        outputs: list[Any] = []

        def keep(_module: nn.Module, _inputs: object, output: Any) -> Any:
            if not isinstance(output, Tensor):
                outputs.append(output)
                return None
            # What comes before the layer needs no graph, unless weights or images already have one.
            outputs.append(
                output if output.requires_grad or not output.is_floating_point() else output.requires_grad_()
            )
            # A copy, so that the output is not changed by what comes after it.
            return output.clone()

        layer, named = self.layer_of(model, network.network, x[:1].detach(), "out of place")
        layer.register_forward_hook(keep)
        logits = network(x)
        output = outputs[-1] if outputs else None
        if not isinstance(output, Tensor):
            raise ValueError(f"layer {named.name!r} was not called, or its output is no tensor; name another")
        total = logits.gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(total, output, create_graph=create_graph)
        weights = named.maps(gradient).mean(dim=(2, 3), keepdim=True)
        coarse = (weights * named.maps(output)).sum(dim=1, keepdim=True)
        fine = functional.interpolate(coarse.relu() if self.rectified else coarse, x.shape[2:], mode=self.interpolation)
        return fine.expand_as(x) / x.shape[1]


@register("guided-gradcam")
@dataclass(frozen=True, kw_only=True)
class GuidedGradCam(LayerExplainer, CaptumExplainer):
    """Grad-CAM, upsampled and rectified, times guided backpropagation (arXiv 1610.02391, section 3.2).

    Softplus activations are treated as ReLUs.

    Attributes:
        interpolation: how the layer's map is upsampled.
    """

    interpolation: Literal["bilinear", "nearest"] = "bilinear"

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        network = rectified(model, image)
        layer, named = self.layer_of(model, network.network, image, "one module per call")
        if named.layout != "channels first":
            raise ValueError(f"guided-gradcam needs channels before height and width; those of {named.name!r} are last")
        return CaptumGuidedGradCam(network, layer)

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """Captum's argument for the upsampling."""
        return {"interpolate_mode": self.interpolation}
