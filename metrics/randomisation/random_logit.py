"""Random logit, similarity of the maps of two classes: Sixt, Granz and Landgraf 2020."""

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
from attrobust.metrics.shared.logits import logits_of
from attrobust.metrics.similarity.ssim import SSIM
from attrobust.types import Scope


@register("random-logit")
@dataclass(frozen=True, kw_only=True)
class RandomLogit(Quality):
    """Similarity of the map of the class ``target`` to that of another class (arXiv 1912.09818).

    A map that depends on the class is not similar to itself for another class; the similarity of one that ignores the
    class is 1. Compared are the protocol's maps; with gradients in absolute value, classes that depend on the same
    pixels have similar maps, whatever the signs.

    NaN where the map is constant or not finite. Where the other class's map is constant, the similarity by ``spearman``
    counts as 0.

    Attributes:
        other: the other class: ``random``, drawn uniformly for each image, or ``second``, that with the largest logit
            beside the explained one's.
        similarity: ``spearman``, or ``ssim`` as in the paper, with the defaults of the metric of that name.
    """

    other: Literal["random", "second"] = "random"
    similarity: Literal["spearman", "ssim"] = "spearman"

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scope: ClassVar[Scope] = "map"

    @property
    def title(self) -> str:
        """E.g. ``random logit (spearman)``."""
        return f"{self.other} logit ({self.similarity})"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where a window of SSIM does not fit into the map."""
        if self.similarity == "ssim":
            SSIM().check_size(height, width)

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        known, other = case.clean_maps, case.reduce(case.explain(case.clean, self._classes(case)))
        if self.similarity == "spearman":
            return correlation_with(known.flatten(1), other.flatten(1), spearman).clamp(-1.0, 1.0)
        return SSIM()(known, other)

    def _classes(self, case: Case) -> Tensor:
        """Another class for each image, int64[B]."""
        logits = logits_of(case.model, case.clean)
        if self.other == "second":
            return logits.scatter(1, case.target[:, None], -torch.inf).argmax(dim=1)
        draws = case.streams("random logit").uniform(logits).scatter(1, case.target[:, None], -torch.inf)
        return draws.argmax(dim=1)
