"""Smooth surface regularisation: the largest eigenvalue of the loss's input Hessian (Wang et al., NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.methods import register
from attrobust.methods.losses.activation import Activated
from attrobust.methods.losses.gradients import differentiable
from attrobust.naming.checks import not_negative
from attrobust.types import Card, Cost


@register("ssr")
@dataclass(frozen=True, kw_only=True)
class SSR(Activated):
    """Penalty on the largest eigenvalue of ``W A Wᵀ``, the loss's input Hessian of a piecewise linear network.

    W has the gradients of all K logits as columns, averaged over colour channels as in the official code, and
    ``A = diag(p) − p pᵀ`` for the probabilities p. With ``S = diag(√p) − p √pᵀ``, ``A = S Sᵀ``, and the eigenvalue is
    that of the K×K matrix ``Sᵀ Wᵀ W S``; the official code finds a root of A by an eigendecomposition, whose derivative
    is undefined where two classes are equally likely.

    Attributes:
        alpha: share of the penalty in the loss; cross-entropy has the rest.
        scale: factor of the eigenvalue, for gradients in pixel units.
        softplus: see ``Activated``.
    """

    alpha: float = 0.3
    scale: float = 1.0

    card: ClassVar[Card] = Card(
        title="Smoothed Geometry for Robust Attribution",
        authors="Wang et al.",
        year=2020,
        arxiv="2006.06643",
        equation="L = alpha scale mean lambda_max(W (diag(p) - p p^T) W^T) + (1 - alpha) CE(f(x), y)",
        note="The official function has scale = 1e6, its command line 0.3, both for images in 0 to 255: 15 and 5e-6 in "
        "pixels. Neither is known to be what the paper used; 1 is ours. Sweep it.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha={self.alpha:g} must be between 0 and 1")
        not_negative(self, "scale")

    def cost(self, classes: int) -> Cost:
        """See ``Method.cost``."""
        return Cost(forward=1, backward=classes + 1, double_backward=classes)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Weighted sum of penalty and cross-entropy; a scalar."""
        x = differentiable(x)
        logits = model(x)
        penalty = self.scale * largest_eigenvalues(logits, x).mean()
        return self.alpha * penalty + (1 - self.alpha) * F.cross_entropy(logits, y)


def largest_eigenvalues(logits: Tensor, x: Tensor) -> Tensor:
    """``λ_max(W A Wᵀ)`` of every image, differentiable, B.

    Args:
        logits: ``model(x)``, B×K, with a graph to ``x``.
        x: images that require grad.
    """
    gradients = [torch.autograd.grad(column.sum(), x, create_graph=True)[0] for column in logits.unbind(dim=1)]
    columns = torch.stack([gradient.mean(dim=1).flatten(1) for gradient in gradients], dim=2)
    log_probabilities = logits.log_softmax(dim=1)
    # Roots are computed from log-probabilities: the derivative of sqrt(p) is infinite where p underflows to 0.
    probabilities, roots = log_probabilities.exp(), (log_probabilities / 2).exp()
    factor = torch.diag_embed(roots) - probabilities[:, :, None] * roots[:, None, :]
    product = columns @ factor
    largest: Tensor = torch.linalg.eigvalsh(product.transpose(1, 2) @ product)[:, -1]
    return largest
