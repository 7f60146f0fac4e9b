"""Networks of other codes, their layers and names, rebuilt by hand."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class AgaLeNet(nn.Module):
    """The LeNet of RobustAGA, its layers and names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv11, self.conv12 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.conv21, self.conv22 = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(4096, 256), nn.Linear(256, 10)
        self.act = nn.Softplus(beta=3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.conv12(self.act(self.conv11(x)))), 2)
        x = F.max_pool2d(self.act(self.conv22(self.act(self.conv21(x)))), 2)
        return self.fc2(self.act(self.fc1(x.view(len(x), -1))))


class KuangliuBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class KuangliuResNet(nn.Module):
    """The ResNet-18 that most CIFAR-10 codes share, its layers and names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        for i, (inputs, outputs, stride) in enumerate(widths, start=1):
            stage = nn.Sequential(KuangliuBlock(inputs, outputs, stride), KuangliuBlock(outputs, outputs, 1))
            self.add_module(f"layer{i}", stage)
        self.linear = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))
