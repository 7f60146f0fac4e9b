"""Logits and probabilities of many images, a few at a time where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AT_ONCE = 8
"""Images that a CPU is given at a time.

In float64 its convolutions copy every window of every image first. Copies of 8 images stay in the cache, and 64 images
take half to three quarters as long as all at once.
"""


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Logits B×K of images B×C×H×W: on a CPU ``AT_ONCE`` images after the others, elsewhere of all at once.

    Args:
        model: in evaluation mode, whose logits of an image do not depend on the batch.
        images: typed like the model.
    """
    rows = AT_ONCE if images.device.type == "cpu" else max(1, len(images))
    return torch.cat([model(part) for part in torch.split(images, rows)])


def target_logit(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Logit of each image's class, float[B]; see ``logits_of``.

    Args:
        model, images: see ``logits_of``.
        target: int64[B].
    """
    return logits_of(model, images).gather(1, target[:, None])[:, 0]


def target_probability(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Softmax probability of each image's class, float[B]; see ``target_logit``."""
    return logits_of(model, images).softmax(dim=1).gather(1, target[:, None])[:, 0]
