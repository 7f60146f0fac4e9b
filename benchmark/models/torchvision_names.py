"""torchvision's classification networks, by its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.constructors import built_for_size, constructor_settings
from attrobust.benchmark.models.per_call import adopted
from attrobust.naming.suggest import did_you_mean
from attrobust.types import ImageFacts

AUXILIARY: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Networks with auxiliary classifiers for training, and the settings that leave these out."""


@register("torchvision")
@dataclass(frozen=True, kw_only=True)
class Torchvision(ModelFamily):
    """A classification network of torchvision, e.g. name=resnet50; other settings are those of its constructor.

    Auxiliary classifiers, of googlenet and inception_v3, are left out. Transformers are built for the images' size.

    Attributes:
        name: as in ``torchvision.models.list_models``.
        extra: settings of the constructor, ``key=value,key=value``; typed as settings of their own, ``dropout=0.1``.
    """

    package: ClassVar[str] = "torchvision"
    others: ClassVar[str] = "extra"
    unused: ClassVar[tuple[str, ...]] = ("aux1", "aux2", "AuxLogits")

    name: str = "resnet18"
    extra: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = known_names()
        if self.name not in known:
            raise ValueError(f"torchvision has no {self.name!r}.{did_you_mean(self.name, known)}")

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``; images must have three channels."""
        from torchvision import models

        if facts.channels != 3:
            raise ValueError(f"networks of torchvision need images of 3 channels, not {facts.channels}")
        settings = {**AUXILIARY.get(self.name, {}), **constructor_settings(self.extra), "num_classes": facts.classes}
        sizes: list[dict[str, Any]] = [{"image_size": facts.size}, {"input_size": (facts.size, facts.size)}]
        return adopted(built_for_size(models.get_model_builder(self.name), sizes, settings, self.name), facts)


def known_names() -> list[str]:
    """The classification networks of torchvision."""
    from torchvision import models

    return list(models.list_models(module=models))
