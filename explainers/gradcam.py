"""Grad-CAM and Guided Grad-CAM, from the channels of one layer: Selvaraju et al. 2017."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import torch
from captum.attr import GuidedGradCam as CaptumGuidedGradCam
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from attrobust.explainers import register
from attrobust.explainers.captum_engine.rectifiers import rectified
from attrobust.explainers.shared.from_captum import CaptumExplainer
from attrobust.naming.suggest import did_you_mean
from attrobust.networks.findings import remembered
from attrobust.networks.smoothed import shared_copy


@dataclass(frozen=True, kw_only=True)
class LayerExplainer(CaptumExplainer):
    """An explainer that uses the output of one layer.

    Attributes:
        layer: dotted path of the layer; where it is empty, the last module whose output has height and width, as in
            the papers.
    """

    layer: str = ""

    def layer_of(self, model: nn.Module, image: Tensor, rewritten: nn.Module | None = None) -> nn.Module:
        """The layer of the network, or of a rewritten copy of it.

        Raises:
            ValueError: it has none of that name, or no output with height and width.
        """
        network, question = (model, "last map") if rewritten is None else (rewritten, "last map of rewritten")
        modules: dict[str, nn.Module] = dict(network.named_modules())
        name = self.layer or remembered(model, image, question, lambda: last_spatial(network, image))
        if name not in modules:
            near = (
                did_you_mean(name, list(modules))
                or f" (the last with height and width: {last_spatial(network, image)!r})"
            )
            raise ValueError(f"the network has no layer {name!r}{near}")
        return modules[name]


def last_spatial(model: nn.Module, image: Tensor) -> str:
    """Path of the module that is called last among those called once whose output is a map of more than one pixel.

    Raises:
        ValueError: there is none.
    """
    network = shared_copy(model)
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules() if name}
    calls: Counter[nn.Module] = Counter()
    spatial: list[nn.Module] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        calls[module] += 1
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            spatial.append(module)

    for module in names:
        module.register_forward_hook(note)
    with torch.no_grad():
        # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
        network.forward(image)
    candidates = [names[module] for module in spatial if calls[module] == 1]
    if not candidates:
        raise ValueError("no module of the network has an output with height and width; name one, layer=PATH")
    return candidates[-1]


@register("gradcam")
@dataclass(frozen=True, kw_only=True)
class GradCam(LayerExplainer):
    """Grad-CAM, ``ReLU(Σ_k mean(∂f_c/∂A_k) A_k)`` of a layer's channels A_k, upsampled (arXiv 1610.02391, equation 2).

    The map has one channel; every channel of the image gets an equal share of it, so that their sum is the Grad-CAM
    map.

    Attributes:
        interpolation: how the layer's map is upsampled.
        rectified: whether the ReLU is applied; Captum's default is not to.
    """

    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    rectified: bool = True

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        return LayerGradCam(model, self.layer_of(model, image))

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """Captum's argument for the ReLU."""
        return {"relu_attributions": self.rectified}

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W."""
        coarse = super().attribute(model, x, target, create_graph=create_graph, generator=generator)
        if coarse.dim() != 4:
            raise ValueError(f"Grad-CAM needs a layer with height and width, not of shape {tuple(coarse.shape[1:])}")
        fine = functional.interpolate(coarse, x.shape[2:], mode=self.interpolation)
        return fine.expand_as(x) / x.shape[1]


@register("guided-gradcam")
@dataclass(frozen=True, kw_only=True)
class GuidedGradCam(LayerExplainer):
    """Grad-CAM, upsampled and rectified, times guided backpropagation (arXiv 1610.02391, section 3.2).

    Softplus activations are treated as ReLUs.

    Attributes:
        interpolation: how the layer's map is upsampled.
    """

    interpolation: Literal["bilinear", "nearest"] = "bilinear"

    def captum(self, model: nn.Module, image: Tensor) -> Any:
        """See ``CaptumExplainer.captum``."""
        network = rectified(model, image)
        return CaptumGuidedGradCam(network, self.layer_of(model, image, network.network))

    def arguments(self, x: Tensor) -> dict[str, Any]:
        """Captum's argument for the upsampling."""
        return {"interpolate_mode": self.interpolation}
