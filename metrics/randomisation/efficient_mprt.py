"""Efficient MPRT, the rise of a map's complexity as a network is randomised: Hedström et al. 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.maps.rows import is_finite, scaled
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.randomisation.mprt import fully_randomised_maps
from attrobust.metrics.shared.case import Case
from attrobust.naming.checks import at_least
from attrobust.types import Scope


@register("efficient-mprt")
@dataclass(frozen=True, kw_only=True)
class EfficientMprt(Quality):
    """Relative rise of entropy, ``(H(m') - H(m)) / H(m)``, m' the map of a fully randomised network.

    From arXiv 2401.06465. A network without training has nothing to explain, so its map should be more complex. A map
    that ignores the network scores 0. The network is that at the end of ``mprt``. NaN where ``H(m)`` is 0: by
    ``histogram`` for a constant map, by ``shares`` for one of a single pixel; where a map is not finite; and by
    ``shares`` where one is zero everywhere.

    Attributes:
        entropy: ``histogram``, in nats, of how often values fall into ``bins`` of equal width between the smallest and
            the largest, as in the paper; or ``shares``, of the absolute values as shares, as the metric ``entropy``.
        bins: of the histogram.
    """

    entropy: Literal["histogram", "shares"] = "histogram"
    bins: int = 100

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, float("inf"))
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        at_least(2, self, "bins")

    @property
    def title(self) -> str:
        """E.g. ``efficient MPRT (histogram)``."""
        return f"efficient MPRT ({self.entropy})"

    @property
    def without_effect(self) -> frozenset[str]:
        """See ``Metric.without_effect``."""
        return frozenset({"bins"} if self.entropy == "shares" else ())

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        before, after = (self._entropy(maps.flatten(1)) for maps in (case.clean_maps, fully_randomised_maps(case)))
        return ((after - before) / before).masked_fill(before == 0, float("nan"))

    def _entropy(self, rows: Tensor) -> Tensor:
        """Of each map, float64[B]; NaN where one is not finite, and with shares where it is zero everywhere."""
        usable = is_finite(rows)
        rows = rows.where(usable[:, None], 0.0).double()
        shares = scaled(rows.abs(), "sum") if self.entropy == "shares" else in_bins(rows, self.bins)
        entropy: Tensor = torch.special.entr(shares).sum(dim=1).clamp_min(0.0)
        return entropy.masked_fill(~usable, float("nan"))


def in_bins(rows: Tensor, bins: int) -> Tensor:
    """Share of each row's values in bins of equal width from its smallest to its largest value, float64 B×bins.

    The largest value is in the last bin; all values of a constant row are in one.
    """
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    # Halved first, so that the range of huge values is finite.
    width = (high / 2 - low / 2).where(high > low, 1.0)
    places = ((rows / 2 - low / 2) / width * bins).long().clamp_max(bins - 1)
    counts = rows.new_zeros(len(rows), bins).scatter_add_(1, places, torch.ones_like(rows))
    return counts / rows.shape[1]
