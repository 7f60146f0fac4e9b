"""The small convolutional network of the attribution-robustness papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.networks.smoothed import Normalize
from attrobust.types import ImageFacts


@register("lenet")
@dataclass(frozen=True, kw_only=True)
class LeNet(ModelFamily):
    """conv-conv-pool-conv-conv-pool-fc-fc with 3×3 convolutions and max-pooling, as in AGA and Kim et al. 2019.

    Attributes:
        width: channels of the first two convolutions; the last two have twice as many.
        hidden: units of the fully connected layer.
    """

    width: int = 32
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden) < 1:
            raise ValueError(f"width={self.width} and hidden={self.hidden} must be at least 1")

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``; images must be at least 4 pixels wide."""
        if facts.size < 4:
            raise ValueError(f"lenet needs images of at least 4×4 pixels, not {facts.size}×{facts.size}")
        wide = 2 * self.width
        features = nn.Sequential(
            *(nn.Conv2d(facts.channels, self.width, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(self.width, self.width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(self.width, wide, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        side = facts.size // 4
        classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(wide * side * side, self.hidden), nn.ReLU(), nn.Linear(self.hidden, facts.classes)
        )
        network = nn.Sequential()
        network.add_module("normalize", Normalize(facts.mean, facts.std))
        network.add_module("features", features)
        network.add_module("classifier", classifier)
        return network

    def suited_to(self, shapes: Mapping[str, tuple[int, ...]]) -> LeNet:
        """See ``ModelFamily.suited_to``."""
        width, hidden = shapes["features.0.weight"][0], shapes["classifier.1.weight"][0]
        return replace(self, width=width, hidden=hidden)
