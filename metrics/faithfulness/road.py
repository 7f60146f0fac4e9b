"""ROAD, remove and debias: the class as pixels are imputed in the order of a map: Rong et al. 2022."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.imputation import imputed
from attrobust.metrics.shared.levels import check_counts, counts, percentages
from attrobust.metrics.shared.logits import logits_of, target_probability
from attrobust.metrics.shared.removal import First, defined, removal_order, usable
from attrobust.naming.checks import not_negative
from attrobust.types import Scope


@dataclass(frozen=True, kw_only=True)
class Removal(Quality, kind=True):
    """Base class: the class as pixels are removed in the order of the map and imputed (arXiv 2202.00449).

    At each level that share of the pixels is removed, in all channels. Removed pixels become weighted means of their
    neighbours (``attrobust.metrics.shared.imputation``) plus noise ``N(0, noise²)``, so that their shape says little of
    the class; they are not clamped to [0, 1]. Pixels of equal value are removed in a random order, one for each image,
    whatever the map, as by ROAR: from an image whose map is constant the same pixels are removed in both orders. The
    score is the mean over levels. NaN where a map is not finite.

    Attributes:
        levels: shares of the pixels that are removed, in percent, rising, separated by ``/``.
        measure: ``probability``, the softmax probability of ``target``; or ``accuracy``, as in the paper, 1 where
            ``target`` is predicted and 0 where not.
        noise: standard deviation in pixel units.
    """

    levels: str = "10/30/50/70/90"
    measure: Literal["probability", "accuracy"] = "probability"
    noise: float = 0.01

    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        percentages(self.levels)
        not_negative(self, "noise")

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where two levels remove equally many pixels, or one removes all of them."""
        check_counts(self.levels, height, width)

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        return self.combined(case).masked_fill(~defined(case.clean_maps), float("nan"))

    @abstractmethod
    def combined(self, case: Case) -> Tensor:
        """The score where maps are finite, float[B]."""

    def mean_of(self, case: Case, first: First) -> Tensor:
        """Mean of the measure over levels, float[B].

        Args:
            case: whose clean images and maps are used.
            first: the values that are removed first.
        """
        x, streams = case.clean, case.streams("ROAD")
        maps = usable(case.clean_maps).flatten(1)
        order = removal_order(maps, streams.uniform(maps.double()), first)
        values = []
        for count in counts(self.levels, maps.shape[1]):
            gone = torch.zeros_like(maps, dtype=torch.bool).scatter_(1, order[:, :count], value=True)
            gone = gone.view(len(x), *x.shape[2:])
            filled = torch.stack([imputed(image, mask) for image, mask in zip(x, gone, strict=True)])
            noise = self.noise * streams.normal(x)
            values.append(self._measured(case, torch.where(gone[:, None], filled + noise, x)))
        return torch.stack(values).mean(dim=0)

    def _measured(self, case: Case, images: Tensor) -> Tensor:
        if self.measure == "accuracy":
            return (logits_of(case.model, images).argmax(dim=1) == case.target).to(images)
        return target_probability(case.model, images, case.target).clamp(0.0, 1.0)


@register("road")
@dataclass(frozen=True, kw_only=True)
class Road(Removal):
    """ROAD, least relevant pixels removed first less most relevant first, ``mean(LeRF) - mean(MoRF)``.

    Above 0 where the map orders pixels better than chance. A constant map scores exactly 0, since it removes the same
    pixels in both orders, and a random one about 0.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @property
    def title(self) -> str:
        """``ROAD``, with ``accuracy`` behind it where that is measured."""
        return titled("ROAD", self.measure)

    def combined(self, case: Case) -> Tensor:
        """See ``Removal.combined``."""
        return self.mean_of(case, "smallest") - self.mean_of(case, "largest")


@register("road-morf")
@dataclass(frozen=True, kw_only=True)
class RoadMorf(Removal):
    """ROAD, most relevant pixels removed first: low where the class is lost early."""

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def title(self) -> str:
        """``ROAD MoRF``, with ``accuracy`` behind it where that is measured."""
        return titled("ROAD MoRF", self.measure)

    def combined(self, case: Case) -> Tensor:
        """See ``Removal.combined``."""
        return self.mean_of(case, "largest")


@register("road-lerf")
@dataclass(frozen=True, kw_only=True)
class RoadLerf(Removal):
    """ROAD, least relevant pixels removed first: high where the class is kept."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def title(self) -> str:
        """``ROAD LeRF``, with ``accuracy`` behind it where that is measured."""
        return titled("ROAD LeRF", self.measure)

    def combined(self, case: Case) -> Tensor:
        """See ``Removal.combined``."""
        return self.mean_of(case, "smallest")


def titled(name: str, measure: str) -> str:
    """The name, and the measure where it is not the default."""
    return f"{name} (accuracy)" if measure == "accuracy" else name
