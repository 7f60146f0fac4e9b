"""ResNet-18 (He et al. 2016) with torchvision's parameter names, so that torchvision's weights fit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.networks.known import calls_each_part_once
from attrobust.networks.smoothed import Normalize
from attrobust.types import ImageFacts


@calls_each_part_once
class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, with one module for each activation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.downsample = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×outputs×H/stride×W/stride."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.downsample(x))  # type: ignore[no-any-return]


@calls_each_part_once
class ResNet18Network(nn.Module):
    """Stem, four stages of two blocks, global average pooling, one linear layer."""

    def __init__(self, facts: ImageFacts, *, imagenet_stem: bool) -> None:
        super().__init__()
        self.normalize = Normalize(facts.mean, facts.std)
        kernel, stride = (7, 2) if imagenet_stem else (3, 1)
        self.conv1 = nn.Conv2d(facts.channels, 64, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet_stem else nn.Identity()
        self.layer1 = self._stage(64, 64, 1)
        self.layer2 = self._stage(64, 128, 2)
        self.layer3 = self._stage(128, 256, 2)
        self.layer4 = self._stage(256, 512, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, facts.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W pixels in [0, 1] to B×K logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(x)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


@register("resnet18")
@dataclass(frozen=True, kw_only=True)
class ResNet18(ModelFamily):
    """ResNet-18 with a 3×3 stem and no pooling, for images around 32×32."""

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``."""
        return ResNet18Network(facts, imagenet_stem=False)


@register("resnet18-imagenet")
@dataclass(frozen=True, kw_only=True)
class ResNet18ImageNet(ModelFamily):
    """torchvision's ResNet-18: a 7×7 stem of stride 2 and max-pooling, for images around 224×224."""

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``."""
        return ResNet18Network(facts, imagenet_stem=True)
