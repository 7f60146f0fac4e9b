"""First and second derivatives of a network with respect to its input, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.maps.lengths import PIXELS, unit
from attrobust.networks.smoothed import is_smooth
from attrobust.networks.spelled import function_kinks

Objective = Literal["loss", "logit"]
"""The function that is differentiated: the cross-entropy to a class, or its logit."""
Product = Callable[[Tensor], Tensor]
"""Vectors B×C×H×W to the products ``H v`` with every image's own Hessian, B×C×H×W."""


def check_objective(of: str) -> None:
    """Raise ValueError unless ``of`` is ``loss`` or ``logit``."""
    if of not in ("loss", "logit"):
        raise ValueError(f"of={of} must be loss or logit")


def gradient(model: nn.Module, x: Tensor, target: Tensor, of: Objective) -> Tensor:
    """``∇_x`` of the loss or the logit, B×C×H×W, per pixel unit, without a graph."""
    return _gradient(model, x.detach().requires_grad_(), target, of, create_graph=False)


def second_order(model: nn.Module, x: Tensor, target: Tensor, of: Objective) -> tuple[Tensor, Product]:
    """The gradient, and a function for products with the Hessian H, from one pass through the network.

    The products are exact, by differentiating the gradient. For the logit of a network with piecewise linear
    activations, such as ReLU, they are NaN: its gradient is constant within a linear region and changes only at kinks,
    where the second derivative does not exist. A product of 0 would be the best possible curvature, which is wrong.
    """
    undefined = of == "logit" and not (is_smooth(model) and set(function_kinks(model, x)) <= {nn.MaxPool2d.__name__})
    attached = x.detach().requires_grad_()
    first = _gradient(model, attached, target, of, create_graph=True)

    def product(vectors: Tensor) -> Tensor:
        if undefined:
            return torch.full_like(vectors, torch.nan)
        if not first.requires_grad:
            return torch.zeros_like(vectors)
        (second,) = torch.autograd.grad(first, attached, vectors, retain_graph=True, materialize_grads=True)
        return second

    return first.detach(), product


def largest_curvature(product: Product, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Power iteration towards the eigenvector of the Hessian's largest eigenvalue in absolute value.

    Args:
        product: with the Hessians.
        start: B×C×H×W; not zero, and not orthogonal to that eigenvector.
        iterations: of ``v ← H v / ||H v||``.

    Returns:
        The unit vector v and ``H v``, B×C×H×W. ``||H v||₂`` is at most the spectral norm of H. It approaches it also
        where λ and −λ are both largest eigenvalues; ``⟨v, H v⟩`` can then be any number between the two.
    """
    v = unit(start, PIXELS)
    for _ in range(iterations):
        v = unit(product(v), PIXELS)
    return v, product(v)


def length(vectors: Tensor) -> Tensor:
    """l2 norm of each image's vector, float[B]."""
    norms: Tensor = vectors.flatten(1).norm(dim=1)
    return norms


def _gradient(model: nn.Module, x: Tensor, target: Tensor, of: Objective, *, create_graph: bool) -> Tensor:
    with torch.enable_grad():
        logits = model(x)
        if of == "loss":
            values = F.cross_entropy(logits, target, reduction="none")
        else:
            values = logits.gather(1, target.view(-1, 1))
        (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=create_graph)
        return gradient
