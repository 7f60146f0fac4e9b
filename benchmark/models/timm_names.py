"""timm's networks, by its names."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.constructors import built_for_size, constructor_settings
from attrobust.benchmark.models.per_call import adopted
from attrobust.naming.suggest import did_you_mean
from attrobust.types import ImageFacts, UsageError


@register("timm")
@dataclass(frozen=True, kw_only=True)
class Timm(ModelFamily):
    """A network of timm, e.g. name=resnet26d (needs pip install attrobust[zoo]); other settings are of its constructor.

    Attributes:
        name: as in ``timm.list_models``.
        extra: settings of the constructor, ``key=value,key=value``; typed as settings of their own, ``drop_rate=0.1``.
    """

    package: ClassVar[str] = "timm"
    others: ClassVar[str] = "extra"

    name: str = "resnet18"
    extra: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        timm = imported()
        if not timm.is_model(self.name):
            raise ValueError(f"timm has no {self.name!r}.{did_you_mean(self.name, timm.list_models())}")

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``; transformers are built for the size of the images."""
        channels = {"num_classes": facts.classes, "in_chans": facts.channels}
        return adopted(created(self.name, facts.size, {**constructor_settings(self.extra), **channels}), facts)


def created(name: str, size: int, settings: dict[str, Any]) -> nn.Module:
    """A network of timm for images of a size; raises ValueError where it cannot be built with the settings."""
    return built_for_size(functools.partial(imported().create_model, name), [{"img_size": size}], settings, name)


def imported() -> Any:
    """The package; raises UsageError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"networks of timm need timm ({error}): pip install attrobust[zoo]") from error
    return timm
