"""Gradient SHAP, gradients between references and noisy images: Lundberg and Lee 2017."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.chunks import accumulate
from attrobust.explainers.shared.gradient import input_gradient
from attrobust.explainers.shared.noise import GaussianExplainer


@register("gradient-shap")
@dataclass(frozen=True, kw_only=True)
class GradientShap(GaussianExplainer):
    """Mean of ``(x + s z_k - b_k) ⊙ ∇f_c(b_k + t_k (x + s z_k - b_k))`` over draws (arXiv 1705.07874).

    z_k is normal noise, t_k uniform on [0, 1], b_k one of the references, all drawn anew for each of the ``samples``
    copies and the same for all images of a batch. Explainers are not given background images, so the references are
    flat images with grey levels evenly spaced from black to white.

    Attributes:
        references: number of references.
    """

    stdev: float = 0.0
    references: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.references < 1:
            raise ValueError(f"references={self.references} must be at least 1")

    def draws(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noise n×C×H×W in pixel units, grey levels n, and positions n between reference (0) and image (1)."""
        noise = self.noise(x, generator)
        levels = torch.linspace(0, 1, self.references, dtype=torch.float64)
        chosen = levels[torch.randint(self.references, (self.samples,), generator=generator)]
        positions = torch.rand(self.samples, generator=generator, dtype=torch.float64)
        return noise, chosen.to(x), positions.to(x)

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        noise, levels, positions = self.draws(x, generator)

        def part(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
            b, t = (values[span].view(-1, 1, 1, 1) for values in (levels, positions))
            way = images[:, None] + noise[span] - b
            labels = target[rows].repeat_interleave(len(t))
            gradients = input_gradient(model, (b + t * way).flatten(0, 1), labels, create_graph=graph)
            return (way * gradients.view_as(way)).sum(dim=1)

        return accumulate(part, model, x, self.samples, create_graph=create_graph) / self.samples
