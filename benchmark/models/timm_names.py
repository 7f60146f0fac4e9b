"""timm's networks, by its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from attrobust.benchmark.models import register
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.per_call import adopted
from attrobust.naming.suggest import did_you_mean
from attrobust.types import ImageFacts, UsageError


@register("timm")
@dataclass(frozen=True, kw_only=True)
class Timm(ModelFamily):
    """A network of timm, e.g. name=resnet26d (needs pip install attrobust[zoo]).

    Attributes:
        name: as in ``timm.list_models``.
    """

    package: ClassVar[str] = "timm"

    name: str = "resnet18"

    def __post_init__(self) -> None:
        super().__post_init__()
        timm = imported()
        if not timm.is_model(self.name):
            raise ValueError(f"timm has no {self.name!r}.{did_you_mean(self.name, timm.list_models())}")

    def network(self, facts: ImageFacts) -> nn.Module:
        """See ``ModelFamily.network``; some architectures require a certain image size."""
        network = imported().create_model(self.name, num_classes=facts.classes, in_chans=facts.channels)
        return adopted(network, facts)


def imported() -> Any:
    """The package; raises UsageError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"networks of timm need timm ({error}): pip install attrobust[zoo]") from error
    return timm
