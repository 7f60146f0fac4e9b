"""Averaging gradients over noise: Smilkov et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from explainers import register
from explainers.base import Explainer
from explainers.saliency import Saliency


@register("smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Explainer):
    """``(1/n) Σ ∇_x f_c(x + s z_k)``, z ~ N(0, I) (Smilkov et al. 2017, arXiv 1706.03825).

    The same n draws are used for every image of a batch, so that an image's map does not depend on its neighbours. For
    one image the value is that of Captum's ``NoiseTunnel`` around ``Saliency`` with the same draws.

    Attributes:
        samples: n.
        stdev: s, in pixel units.
    """

    samples: int = 16
    stdev: float = 0.1
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples={self.samples} must be at least 1")
        if self.stdev < 0:
            raise ValueError(f"stdev={self.stdev:g} must not be negative")

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See ``Explainer.__call__``."""
        source = torch.Generator().manual_seed(0) if generator is None else generator
        draws = torch.randn((self.samples, *x.shape[1:]), generator=source, dtype=x.dtype, device=source.device)
        return smooth_gradient(model, x, target, self.stdev * draws[:, None].to(x.device), create_graph=create_graph)


def smooth_gradient(model: nn.Module, x: Tensor, target: Tensor, noise: Tensor, *, create_graph: bool) -> Tensor:
    """Mean gradient over given perturbations.

    Args:
        model, x, target, create_graph: as for an explainer.
        noise: n×B×C×H×W, or n×1×C×H×W to use the same for every image, in pixel units.

    Returns:
        Tensor B×C×H×W.
    """
    copies = (x + noise).flatten(0, 1)
    maps = Saliency()(model, copies, target.repeat(len(noise)), create_graph=create_graph)
    return maps.view(len(noise), *x.shape).mean(dim=0)
