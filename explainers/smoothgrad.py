"""Moments of gradients at noisy copies: Smilkov et al. 2017, Hooker et al. 2019, Adebayo et al. 2018."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.gradient import input_gradient
from attrobust.explainers.shared.noise import GaussianExplainer, check_samples, mean_over_noise


@register("smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(GaussianExplainer):
    """Mean gradient under Gaussian noise, ``(1/n) Σ ∇_x f_c(x + s z_k)`` (Smilkov et al. 2017, arXiv 1706.03825)."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits per pixel unit."""
        return mean_over_noise(model, x, target, self.noise(x, generator), create_graph=create_graph)


@register("smoothgrad-square")
@dataclass(frozen=True, kw_only=True)
class SmoothGradSquare(GaussianExplainer):
    """Mean squared gradient under noise, ``(1/n) Σ (∇_x f_c(x + s z_k))²`` (Hooker et al. 2019, arXiv 1806.10758)."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, squared logits per squared pixel unit."""
        noise = self.noise(x, generator)
        return mean_over_noise(model, x, target, noise, create_graph=create_graph, each=_squared)


@register("vargrad")
@dataclass(frozen=True, kw_only=True)
class VarGrad(GaussianExplainer):
    """Variance of ``∇_x f_c(x + s z_k)`` over the n draws (Adebayo et al. 2018, arXiv 1810.03292)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_samples(self.samples, least=2)

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, squared logits per squared pixel unit."""
        noise = self.noise(x, generator)
        # Variance does not depend on a shift; shifting by the clean gradient avoids cancellation.
        clean = input_gradient(model, x.detach(), target, create_graph=False)

        def moments(gradients: Tensor, rows: slice) -> Tensor:
            centred = gradients - clean[rows, None]
            return torch.stack([centred, centred.square()], dim=2)

        mean, square = mean_over_noise(model, x, target, noise, create_graph=create_graph, each=moments).unbind(dim=1)
        return square - mean.square()


def _squared(gradients: Tensor, _rows: slice) -> Tensor:
    return gradients.square()
