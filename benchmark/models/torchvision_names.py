"""torchvision's classification networks, by its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.per_call import adopted
from attrobust.naming.suggest import did_you_mean
from attrobust.types import ImageFacts

AUXILIARY = ("googlenet", "inception_v3")
"""Networks with auxiliary classifiers in training that, with torchvision's weights, normalise a second time inside."""


@register("torchvision")
@dataclass(frozen=True, kw_only=True)
class Torchvision(ModelFamily):
    """A classification network of torchvision, e.g. name=resnet50.

    Attributes:
        name: as in ``torchvision.models.list_models``.
    """

    package: ClassVar[str] = "torchvision"

    name: str = "resnet18"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = known_names()
        if self.name not in known:
            raise ValueError(f"torchvision has no {self.name!r}.{did_you_mean(self.name, known)}")
        if self.name in AUXILIARY:
            raise ValueError(f"{self.name} has auxiliary classifiers, which nothing here trains or attacks")

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``; images must have three channels."""
        from torchvision import models

        if facts.channels != 3:
            raise ValueError(f"networks of torchvision need images of 3 channels, not {facts.channels}")
        return adopted(models.get_model(self.name, weights=None, num_classes=facts.classes), facts)


def known_names() -> list[str]:
    """The classification networks of torchvision."""
    from torchvision import models

    return list(models.list_models(module=models))
