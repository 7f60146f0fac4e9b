"""Input gradients of logits, in the normalised units the papers use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrobust.views import input_scale


def true_logit_gradient(model: nn.Module, logits: Tensor, x: Tensor, y: Tensor, *, create_graph: bool) -> Tensor:
    """``∇_x̃ f_y``, the gradient of each image's true-class logit with respect to the normalised input, B×C×H×W.

    Args:
        model: used only for the size of its normalised units.
        logits: ``model(x)``, B×K, with a graph to ``x``, which is kept.
        x: images that require grad.
        y: classes, int64[B].
        create_graph: whether the result can be differentiated again.
    """
    selected = logits.gather(1, y[:, None]).sum()
    (gradient,) = torch.autograd.grad(selected, x, create_graph=create_graph, retain_graph=True)
    return gradient * input_scale(model)
