"""What the network says while pixels are put in, or taken away, in the order a map gives them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from scipy import ndimage, signal
from torch import Tensor
from torch.nn import functional as F

from attrobust.metrics.base import Quality, Scope
from attrobust.metrics.shared.case import Case
from attrobust.naming.checks import at_least
from attrobust.networks.smoothed import input_mean


@dataclass(frozen=True, kw_only=True)
class Curve(Quality, kind=True):
    """Area under the softmax probability of ``target`` over the share t of pixels that were exchanged.

    At share ``t = i / steps`` those pixels are exchanged whose value is strictly above that of place ``⌊t H W⌋`` in
    falling order, counted from 0; at ``t = 1`` all are. Pixels that tie are never told apart by where they lie: they
    wait until all of them are due. A constant map has exchanged nothing before ``t = 1``.

    Attributes:
        steps: the curve has a point at every ``i / steps``.
        fill: what stands where there is no pixel: ``mean``, the colour that is zero in normalised units, ``black``, or
            ``blur``, the image under the Gaussian of RISE's code.
        area: ``trapezoid`` over t from 0 to 1, or ``mean`` of the points without that at ``t = 1``.
    """

    steps: int = 20
    fill: Literal["mean", "black", "blur"] = "mean"
    area: Literal["trapezoid", "mean"] = "trapezoid"

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        at_least(1, self, "steps")

    def check_size(self, height: int, width: int) -> None:
        """A step must not be less than a pixel."""
        if self.steps > height * width:
            raise ValueError(f"steps={self.steps} are more than the {height * width} pixels of a map")

    @abstractmethod
    def ends(self, images: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """What stands before pixels are exchanged, and after."""

    def ranking(self, case: Case) -> Tensor:
        """The maps whose order is followed, B×H×W."""
        return case.clean_maps

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``; NaN where a map is not finite."""
        maps = self.ranking(case)
        before, after = self.ends(case.clean, self._filled(case.clean, input_mean(case.model)))
        falling = maps.flatten(1).sort(dim=1, descending=True).values
        pixels, points = falling.shape[1], self.steps + (self.area == "trapezoid")
        heights = []
        for step in range(points):
            place = step * pixels // self.steps
            exchanged = maps > falling[:, place, None, None] if place < pixels else torch.ones_like(maps).bool()
            logits = case.model(torch.where(exchanged[:, None], after, before))
            heights.append(logits.softmax(dim=1).gather(1, case.target[:, None])[:, 0])
        curve = torch.stack(heights)
        area = curve.mean(dim=0) if self.area == "mean" else torch.trapezoid(curve, dx=1 / self.steps, dim=0)
        return area.clamp(0.0, 1.0).masked_fill(~maps.flatten(1).isfinite().all(dim=1), float("nan"))

    def _filled(self, images: Tensor, mean: Tensor | float) -> Tensor:
        match self.fill:
            case "mean":
                return torch.zeros_like(images) + mean
            case "black":
                return torch.zeros_like(images)
            case "blur":
                return blurred(images, mean)


def blurred(images: Tensor, mean: Tensor | float) -> Tensor:
    """Images under the kernel of RISE's code (arXiv 1806.07421): 11×11 pixels, σ = 5, and its tails folded back.

    Beyond the border is the colour that is zero in normalised units, as there.

    Args:
        images: B×C×H×W.
        mean: that colour, see ``attrobust.views.input_mean``.
    """
    row = torch.from_numpy(ndimage.gaussian_filter1d(signal.unit_impulse(11, "mid"), 5)).to(images)
    planes = (images - mean).flatten(0, 1)[:, None]
    return F.conv2d(planes, torch.outer(row, row)[None, None], padding=5).view_as(images) + mean
