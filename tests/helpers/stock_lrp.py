"""What an independent implementation gives for ``lrp``: Bach's sums written out product by product, no autograd, no fx.

Captum's own LRP cannot be the oracle of the defaults: its rule for positive products keeps negative biases and counts
the products of negative inputs and positive weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from attrobust.networks.smoothed import Normalize

EPSILON = 1e-6


@dataclass
class Residual:
    """Two branches that are added up."""

    main: list[nn.Module | Residual]
    side: list[nn.Module | Residual]


Step = nn.Module | Residual


@singledispatch
def steps(model: nn.Module) -> list[Step]:
    """A network as a list, with batch normalisation folded into convolutions."""
    return [model]


@steps.register
def _(model: nn.Sequential) -> list[Step]:
    return [step for child in model for step in steps(child)]


@steps.register
def _(model: ResNet) -> list[Step]:
    stem: list[Step] = [fuse_conv_bn_eval(model.conv1, model.bn1), nn.ReLU(), model.maxpool]
    blocks = [step for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for step in steps(layer)]
    return [*stem, *blocks, model.avgpool, nn.Flatten(), model.fc]


@steps.register
def _(block: BasicBlock) -> list[Step]:
    first, second = fuse_conv_bn_eval(block.conv1, block.bn1), fuse_conv_bn_eval(block.conv2, block.bn2)
    side: list[Step] = [] if block.downsample is None else [fuse_conv_bn_eval(*block.downsample)]
    return [Residual([first, nn.ReLU(), second], side), nn.ReLU()]


def value(path: list[Step], a: Tensor) -> Tensor:
    for step in path:
        a = value(step.main, a) + value(step.side, a) if isinstance(step, Residual) else step(a)
    return a


def relevance(path: list[Step], a: Tensor, start: Callable[[Tensor], Tensor]) -> Tensor:
    """Of the input ``a`` of a path, where ``start`` says what its output gets."""
    if not path:
        return start(a)
    step, *rest = path
    z = value([step], a)
    received = relevance(rest, z, start)
    if isinstance(step, Residual):
        share = received / stabilised(z)
        return relevance(step.main, a, lambda part: part * share) + relevance(step.side, a, lambda part: part * share)
    return back(step, a, z, received)


def stabilised(z: Tensor) -> Tensor:
    return z + EPSILON * (2 * (z >= 0).to(z) - 1)


def back(step: nn.Module, a: Tensor, z: Tensor, received: Tensor) -> Tensor:
    if isinstance(step, (Normalize, nn.ReLU, nn.Softplus)):
        return received
    if isinstance(step, nn.Flatten):
        return received.reshape(a.shape)
    if isinstance(step, nn.Linear):
        return a * ((received / stabilised(z)) @ step.weight)
    if isinstance(step, nn.AdaptiveAvgPool2d):
        assert z.shape[2:] == (1, 1)
        return a / a[0, 0].numel() * received / stabilised(z)
    if isinstance(step, nn.MaxPool2d):
        _, winners = F.max_pool2d(a, step.kernel_size, step.stride, step.padding, return_indices=True)
        found = torch.zeros_like(a).flatten(2)
        return found.scatter_add(2, winners.flatten(2), received.flatten(2)).view_as(a)
    assert isinstance(step, nn.Conv2d) and step.groups == 1
    return torch.stack([positive_products(step, image, part) for image, part in zip(a, received, strict=True)])


def positive_products(layer: nn.Conv2d, image: Tensor, received: Tensor) -> Tensor:
    """``R_i = Σ_k (a_i w_ik)⁺ R_k / (Σ_j (a_j w_jk)⁺ + b_k⁺)`` for one image."""
    form = {"dilation": layer.dilation, "padding": layer.padding, "stride": layer.stride}
    patches = F.unfold(image[None], layer.kernel_size, **form)[0]
    products = (layer.weight.flatten(1)[:, :, None] * patches).clamp(min=0)
    z = products.sum(dim=1) + (0 if layer.bias is None else layer.bias.clamp(min=0)[:, None])
    shares = (products * (received.flatten(1) / (z + EPSILON))[:, None]).sum(dim=0)
    return F.fold(shares[None], image.shape[1:], layer.kernel_size, **form)[0]


def lrp(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    with torch.no_grad():
        return relevance(steps(model), x, lambda logits: F.one_hot(target, logits.shape[1]) * logits)


STOCK = {"lrp": lrp}
