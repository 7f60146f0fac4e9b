"""IROF, the fall of the class probability as segments are removed in the order of a map: Rieger and Hansen 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.maps.rows import with_norm
from attrobust.maps.segments import counts, find
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.filling import Fill, filled
from attrobust.metrics.shared.logits import target_probability
from attrobust.naming.checks import at_least
from attrobust.types import Scope


@register("irof")
@dataclass(frozen=True, kw_only=True)
class Irof(Quality):
    """Area over the curve of ``p_c(x without l segments) / p_c(x)``, l from 0 to all L, by L (arXiv 2003.08747).

    p_c is the softmax probability of ``target``. Segments are removed in descending order of the map's mean over them.
    Those that tie are removed together, once all of them are due; so with a constant map nothing is removed before the
    end, which hardly scores. The area is that of the trapezoids between ``L + 1`` points, at most 1, and negative where
    the probability rises. (Quantus leaves out the point at 0 and does not divide by L, so that images with more
    segments weigh more; where segments tie, any comes first.) NaN where an image is a single segment, where ``p_c(x)``
    is 0, and where a map is not finite.

    Attributes:
        segments: ``slic``, ``felzenszwalb`` or ``quickshift``, superpixels that scikit-image finds in each image, or
            ``grid``, squares. The paper and Quantus use slic.
        size: side of the squares in pixels, or about that of a superpixel.
        fill: in place of segments: ``mean``, the colour that is zero in normalised units, or ``black``.
    """

    segments: Literal["slic", "felzenszwalb", "quickshift", "grid"] = "slic"
    size: int = 4
    fill: Fill = "mean"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (float("-inf"), 1.0)
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        at_least(1, self, "size")

    @property
    def title(self) -> str:
        """E.g. ``IROF (slic 4, mean)``."""
        return f"IROF ({self.segments} {self.size}, {self.fill})"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where one segment would be the whole image."""
        if self.size >= max(height, width):
            raise ValueError(f"size={self.size} makes a single segment of {height}×{width} images; lower it")

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        x, maps = case.clean, case.clean_maps
        labels = find(x, self.segments, self.size).to(x.device).expand(len(x), -1, -1)
        number, due = counts(labels), removal_steps(maps, labels)
        colour = filled(case, self.fill)
        before = target_probability(case.model, x, case.target)
        # Trapezoids between points 1/L apart: the first and last point count half.
        total = 0.5 * torch.ones_like(before)
        for step in range(1, int(number.max()) + 1):
            rows = (number >= step).nonzero()[:, 0]
            moved = torch.where((due[rows] <= step)[:, None], colour[rows], x[rows])
            ratio = target_probability(case.model, moved, case.target[rows]) / before[rows]
            total[rows] += torch.where(number[rows] == step, 0.5, 1.0) * ratio
        undefined = (number < 2) | (before == 0) | ~maps.flatten(1).isfinite().all(dim=1)
        return (1 - total / number).masked_fill(undefined, float("nan"))


def removal_steps(maps: Tensor, labels: Tensor) -> Tensor:
    """How many segments are removed once a pixel's own is, int64[B, H, W]: those of at least its mean.

    Args:
        maps: B×H×W.
        labels: of segments, int64[B, H, W], from 0 without gaps in each image.
    """
    (flat, _), of = with_norm(maps.flatten(1), "max"), labels.flatten(1)
    # Less the first value, means over a constant map are all exactly 0.
    flat = flat - flat[:, :1]
    most = int(of.max()) + 1
    sums = flat.new_zeros(len(flat), most).scatter_add_(1, of, flat)
    sizes = flat.new_zeros(len(flat), most).scatter_add_(1, of, torch.ones_like(flat))
    means = (sums / sizes).masked_fill(sizes == 0, -torch.inf)
    # Segments that an image does not have are behind all others and count nowhere.
    steps = (means[:, None, :] >= means[:, :, None]).sum(dim=2)
    return steps.gather(1, of).view_as(labels)
