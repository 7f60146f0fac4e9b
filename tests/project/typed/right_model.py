"""An architecture that is told about its images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from attrobust import ImageFacts, ModelFamily, Normalization, Normalize, register_model


@register_model("right")
@dataclass(frozen=True, kw_only=True)
class Right(ModelFamily):
    width: int = 8
    normalize: Normalization = "half"

    package: ClassVar[str] = ""

    def network(self, facts: ImageFacts) -> nn.Module:
        if facts.size % 2:
            raise ValueError("an even size is needed")
        body = nn.Sequential(nn.Flatten(), nn.Linear(facts.channels * facts.size**2, self.width), nn.ReLU())
        return nn.Sequential(Normalize(facts.mean, facts.std), body, nn.Linear(self.width, facts.classes))

    def suited_to(self, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        return replace(self, width=shapes["weight"][0])


network: nn.Module = Right(width=3).build(ImageFacts(channels=1, size=8, classes=2, mean=(0.5,), std=(0.5,)))
