"""Networks prepared by hand for stock Captum, without the package's own rewriting."""

from __future__ import annotations

import copy
from typing import Any

import torchvision
from torch import Tensor, nn
from torch.nn import functional


class OwnModules(nn.Module):
    """torchvision's BasicBlock with a ReLU of its own at both places."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.relu1, self.relu2 = block, nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        block: Any = self.block
        y = block.bn2(block.conv2(self.relu1(block.bn1(block.conv1(x)))))
        return self.relu2(y + (x if block.downsample is None else block.downsample(x)))


class Softplus(nn.ReLU):
    """Softplus for Captum's test of ``isinstance(module, nn.ReLU)``."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x, self.beta)


def by_hand(model: nn.Module, *, rectifiers: bool = False) -> nn.Module:
    """A copy with one ReLU module per call, and softplus as a ReLU where asked for."""
    network: Any = copy.deepcopy(model)
    if isinstance(network, torchvision.models.ResNet):
        network.relu = nn.ReLU()
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            for i, block in enumerate(layer):
                layer[i] = OwnModules(block)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Softplus) and rectifiers:
                setattr(parent, name, Softplus(child.beta))
    return network


class Windows(nn.Module):
    """Max-pooling of 3×3 windows at stride 2 written with windows that do not overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool1d(9)

    def forward(self, x: Tensor) -> Tensor:
        # Behind a ReLU, so that the padding of -1 is never the maximum.
        windows = functional.unfold(functional.pad(x, (1, 1, 1, 1), value=-1.0), 3, stride=2)
        height, width = (side // 2 + side % 2 for side in x.shape[2:])
        apart = windows.view(len(x), x.shape[1], 9, -1).transpose(2, 3)
        return self.pool(apart.flatten(1, 2)).view(len(x), x.shape[1], height, width)


def apart(model: nn.Module) -> nn.Module:
    """A copy in which Captum's DeepLift is complete.

    It needs a clone before each activation and max-pooling, and pooling windows that do not overlap.
    """
    network: Any = by_hand(model)
    if isinstance(network, torchvision.models.ResNet):
        network.maxpool = Windows()

    class Clone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone()

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.ReLU, nn.Softplus, nn.MaxPool2d, nn.MaxPool1d)):
                setattr(parent, name, nn.Sequential(Clone(), child))
    return network
