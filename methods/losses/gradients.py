"""Input gradients of logits and losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.networks.smoothed import input_scale


def true_logit_gradient(model: nn.Module, logits: Tensor, x: Tensor, y: Tensor, *, create_graph: bool) -> Tensor:
    """``∇_x̃ f_y``, the gradient of each image's true-class logit with respect to the normalised input, B×C×H×W.

    Args:
        model: used only for the scale of its normalised units.
        logits: ``model(x)``, B×K, with a graph to ``x``, which is kept.
        x: images that require grad.
        y: classes, int64[B].
        create_graph: whether the result can be differentiated again.
    """
    selected = logits.gather(1, y[:, None]).sum()
    (gradient,) = torch.autograd.grad(selected, x, create_graph=create_graph, retain_graph=True)
    return gradient * input_scale(model)


def loss_gradient(logits: Tensor, x: Tensor, y: Tensor, *, create_graph: bool = False) -> Tensor:
    """``∇_x CE(f(x), y)`` of each image's own cross-entropy, in pixel units, B×C×H×W.

    Args:
        logits: ``model(x)``, B×K, with a graph to ``x``, which is kept where the result is to be differentiated.
        x: images that require grad.
        y: classes, int64[B].
        create_graph: whether the result can be differentiated again.
    """
    loss = F.cross_entropy(logits, y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x, create_graph=create_graph)
    return gradient


def differentiable(x: Tensor) -> Tensor:
    """A detached copy of the images that requires grad."""
    return x.detach().clone().requires_grad_()


def per_image(values: Tensor) -> Tensor:
    """Numbers, one per image, shaped to multiply a batch of images."""
    return values.view(-1, 1, 1, 1)
