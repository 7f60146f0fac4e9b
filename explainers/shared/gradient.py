"""The explained logit and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def logit(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The explained logit of each image, float[B]."""
    values: Tensor = model(x).gather(1, target.view(-1, 1)).squeeze(1)
    return values


def input_gradient(model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool) -> Tensor:
    """``∇_x f_c(x)``, B×C×H×W, logits per pixel unit.

    Args:
        model, target: as for an explainer.
        x: images; detached unless ``create_graph`` is set.
        create_graph: whether the result is to be differentiated again.
    """
    attached = x if create_graph else x.detach().requires_grad_()
    with torch.enable_grad():
        total = logit(model, attached, target).sum()
        (gradient,) = torch.autograd.grad(total, attached, create_graph=create_graph)
    return gradient
