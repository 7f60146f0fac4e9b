"""Localization: share of a map inside the object's mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.types import Scope


@register("localization")
@dataclass(frozen=True, kw_only=True)
class Localization(Quality):
    """Share of a map inside the mask of the object; for a random map it is about the mask's share of pixels.

    NaN where the mask is empty or the whole image, or the map is zero everywhere or not finite.

    Attributes:
        by: ``pointing``, whether the largest value lies inside (the pointing game, arXiv 1608.00507); ``energy``, the
            share of ``Σ|map|`` inside (the energy-based pointing game, arXiv 1910.01279); or ``top``, the share of the
            largest values, as many as the mask has pixels, inside (relevance rank accuracy, arXiv 2003.07258). Values
            that tie for the last place count by the expected share of a random choice among them.
    """

    by: Literal["pointing", "energy", "top"] = "energy"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1
    scope: ClassVar[Scope] = "map"
    needs_masks: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """E.g. ``inside the mask, energy (%)``."""
        return f"inside the mask, {self.by} (%)"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``.

        Raises:
            ValueError: the case has no masks.
        """
        if case.masks is None:
            raise ValueError("localization needs masks, and the dataset does not know which pixels are the object")
        maps, inside = case.clean_maps.flatten(1), case.masks.flatten(1)
        largest, area = maps.abs().amax(dim=1), inside.sum(dim=1)
        if self.by == "energy":
            size = maps.abs() / largest[:, None]
            share = (size * inside).sum(dim=1) / size.sum(dim=1)
        else:
            share = top_share(maps, inside, area.clamp_min(1) if self.by == "top" else area.clamp(1, 1))
        usable = (largest > 0) & largest.isfinite() & (area > 0) & (area < inside.shape[1])
        return share.masked_fill(~usable, float("nan"))


def top_share(maps: Tensor, inside: Tensor, count: Tensor) -> Tensor:
    """Share of the ``count`` largest values of each row that lie inside, expected over a random choice among ties.

    Args:
        maps: B×D.
        inside: bool B×D.
        count: int64[B], from 1 to D.
    """
    last = maps.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    above, tied = maps > last, maps == last
    of_the_tied = (count - above.sum(dim=1)).to(maps) * (tied & inside).sum(dim=1) / tied.sum(dim=1)
    return ((above & inside).sum(dim=1) + of_the_tied) / count
