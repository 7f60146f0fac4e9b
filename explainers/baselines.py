"""Sanity-check baselines: maps that do not explain the network, which explanations should outperform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from skimage import feature, filters
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.base import Explainer, UnderivedExplainer
from attrobust.explainers.shared.noise import normal_draws


@register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(UnderivedExplainer):
    """Sanity-check baseline: the same value at every pixel, whatever the image; most metrics are undefined for it."""

    ignores_image: ClassVar[bool] = True
    ignores_network: ClassVar[bool] = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W of ones."""
        return torch.ones_like(x)


@register("random")
@dataclass(frozen=True, kw_only=True)
class Random(UnderivedExplainer):
    """Sanity-check baseline: normal noise, the same for every image."""

    stochastic: ClassVar[bool] = True
    ignores_image: ClassVar[bool] = True
    ignores_network: ClassVar[bool] = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W."""
        return normal_draws(x, 1, generator).expand_as(x).clone()


@register("input")
@dataclass(frozen=True, kw_only=True)
class Input(Explainer):
    """Sanity-check baseline: the image itself, so that bright pixels are important."""

    varies_within_region: ClassVar[bool] = True
    ignores_network: ClassVar[bool] = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, pixels."""
        return x.clone()


@register("edges")
@dataclass(frozen=True, kw_only=True)
class Edges(UnderivedExplainer):
    """Sanity-check baseline: an edge detector on the image (Adebayo et al. 2018, arXiv 1810.03292).

    It is scikit-image's filter on the mean over the channels; every channel gets an equal share, so that their sum is
    the filter's output.

    Attributes:
        detector: ``sobel``, ``scharr`` and ``prewitt`` give the magnitude of the gradient, ``canny`` thin edges of 0
            and 1.
    """

    detector: Literal["sobel", "scharr", "prewitt", "canny"] = "sobel"

    ignores_network: ClassVar[bool] = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, never negative."""
        detect = feature.canny if self.detector == "canny" else getattr(filters, self.detector)
        grey = x.detach().mean(dim=1).cpu().double().numpy()
        maps = torch.from_numpy(np.stack([detect(image) for image in grey]).astype(np.float64))
        return maps[:, None].to(x).expand_as(x) / x.shape[1]
