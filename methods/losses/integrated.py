"""Integrated gradients for training losses: differentiable, along a straight path, of any scalar of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scalar = Callable[[Tensor, Tensor], Tensor]
"""From logits, N×K, and classes, int64[N], to a sum over images."""


ROWS = 64
"""Images that a CPU is given at once: activations of more leave its cache. A step of ``ig-norm`` takes two thirds."""


def true_logits(logits: Tensor, y: Tensor) -> Tensor:
    """Sum of the logits of the classes ``y``."""
    return logits.gather(1, y[:, None]).sum()


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """Sum of the images' cross-entropies."""
    return F.cross_entropy(logits, y, reduction="sum")


@dataclass(frozen=True)
class Path:
    """Integrated gradients by the right Riemann sum of ``points`` points.

    ``A_j = (x'_j − x_j) 1/m Σ_k ∂_j φ(x + k/m (x' − x))``, k from 1 to m.

    Attributes:
        of: φ, from logits and classes to a sum over images.
        points: m.
    """

    of: Scalar
    points: int

    def __call__(self, model: nn.Module, start: Tensor, end: Tensor, y: Tensor) -> Tensor:
        """Attributions with a graph to the weights and to ``end``, B×C×H×W.

        Args:
            model: the network.
            start: first points of the paths, shaped like ``end``.
            end: images, B×C×H×W.
            y: classes, int64[B].
        """
        if not end.requires_grad:
            end = end.detach().requires_grad_()
        shares = torch.arange(1, self.points + 1, dtype=end.dtype, device=end.device) / self.points
        # Statistics of a batch are those of all points.
        at_once = self.points if model.training or end.device.type != "cpu" else max(1, ROWS // len(end))
        total = torch.zeros_like(end)
        for first in range(0, self.points, at_once):
            part = shares[first : first + at_once]
            path = (start + part.view(-1, 1, 1, 1, 1) * (end - start)).flatten(0, 1)
            value = self.of(model(path), y.repeat(len(part)))
            (gradient,) = torch.autograd.grad(value, path, create_graph=True)
            total = total + gradient.reshape(len(part), *end.shape).sum(dim=0)
        return (end - start) * (total / self.points)


def path_of(attribution: Literal["ig", "gradient"], points: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Attributions of the true class's logit: integrated gradients from a black image, or the plain gradient.

    Returns:
        A function from a network, images and classes to B×C×H×W, with a graph to weights and images.
    """

    def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(true_logits(model(x), y), x, create_graph=True)[0]

    integrated = Path(true_logits, points)
    return gradient if attribution == "gradient" else lambda model, x, y: integrated(model, torch.zeros_like(x), x, y)
