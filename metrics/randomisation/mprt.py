"""MPRT, the model parameter randomisation test: Adebayo et al. 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.maps.similarity import spearman
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.constant_maps import correlation_with
from attrobust.networks.randomised import Order, for_layer, layers, randomised
from attrobust.types import Scope


@register("mprt")
@dataclass(frozen=True, kw_only=True)
class Mprt(Quality):
    """Mean Spearman correlation of the map with those of networks whose layers are randomised (arXiv 1810.03292).

    A map that explains the network changes with its parameters, so its correlation is near 0; that of a map which
    ignores the network, such as edges of the image, is 1. Parameters are drawn as those of a new layer, from the
    evaluation's seed, the same for all images; see ``attrobust.networks.randomised``. Batch normalisation gets the
    statistics of a new layer too. The class explained stays ``target``. Compared are the protocol's maps.

    NaN where the map is constant or not finite, as then nothing can change. Where the map of a randomised network is
    constant, the correlation with it counts as 0.

    Each layer takes one more map. A layer is a module with parameters of its own.

    Attributes:
        order: ``cascading``, layers are randomised one after the other, that of the logits first, and stay so, or
            ``independent``, one at a time.
        layers: ``all``, the mean over layers, or ``last``, the fully randomised network alone.
    """

    order: Order = "cascading"
    layers: Literal["all", "last"] = "all"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        if self.layers == "last" and self.order == "independent":
            raise ValueError("layers=last needs order=cascading: with order=independent no network is fully randomised")

    @property
    def title(self) -> str:
        """E.g. ``MPRT (cascading)``."""
        return f"MPRT ({self.order}{', last' if self.layers == 'last' else ''})"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        known, maps = case.clean_maps.flatten(1), self._randomised_maps(case)
        similarities = [correlation_with(known, each.flatten(1), spearman) for each in maps]
        return torch.stack(similarities).mean(dim=0).clamp(-1.0, 1.0)

    def _randomised_maps(self, case: Case) -> list[Tensor]:
        """Maps B×H×W of randomised networks, of those that count."""
        if self.layers == "last":
            return [fully_randomised_maps(case)]
        found, maps = len(layers(case.model, case.clean[:1])), []
        for place, network in enumerate(randomised(case.model, case.clean[:1], case.seed, self.order)):
            with for_layer(place, found):
                maps.append(case.reduce(case.explain_with(network, case.clean, case.target)))
        return maps


def fully_randomised_maps(case: Case) -> Tensor:
    """Maps of the clean images, of the class ``target``, by a network without any trained parameter, B×H×W."""
    *_, network = randomised(case.model, case.clean[:1], case.seed)
    return case.reduce(case.explain_with(network, case.clean, case.target))
