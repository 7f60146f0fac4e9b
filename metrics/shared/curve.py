"""Insertion and deletion curves: class probability while pixels are exchanged in the order of a map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.logits import target_probability
from attrobust.naming.checks import at_least
from attrobust.networks.smoothed import input_mean
from attrobust.types import Scope


@dataclass(frozen=True, kw_only=True)
class Curve(Quality, kind=True):
    """Area under the softmax probability of ``target`` over the share t of pixels that were exchanged.

    At share ``t = i / steps`` those pixels are exchanged whose value is strictly above the value of rank ``⌊t H W⌋`` in
    descending order, counted from 0; at ``t = 1`` all are. Pixels that tie are exchanged together, once all of them are
    due. With a constant map nothing is exchanged before ``t = 1``.

    Attributes:
        steps: the curve has a point at every ``i / steps``.
        fill: in place of pixels: ``mean``, the colour that is zero in normalised units, ``black``, or ``blur``, the
            image blurred by the Gaussian of RISE's code.
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
        """Raise ValueError where there are more steps than pixels."""
        if self.steps > height * width:
            raise ValueError(f"steps={self.steps} are more than the {height * width} pixels of a map")

    @abstractmethod
    def ends(self, images: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """The images before and after all pixels are exchanged, each B×C×H×W."""

    def ranking(self, case: Case) -> Tensor:
        """The maps in whose order pixels are exchanged, B×H×W."""
        return case.clean_maps

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``; NaN where a map is not finite."""
        maps = self.ranking(case)
        before, after = self.ends(case.clean, self._filled(case.clean, input_mean(case.model)))
        falling = maps.flatten(1).sort(dim=1, descending=True).values
        pixels, points = falling.shape[1], self.steps + (self.area == "trapezoid")
        heights: list[Tensor] = []
        exchanged = None
        for step in range(points):
            place, known = step * pixels // self.steps, exchanged
            exchanged = maps > falling[:, place, None, None] if place < pixels else torch.ones_like(maps).bool()
            if known is not None and torch.equal(exchanged, known):
                heights.append(heights[-1])
                continue
            images = torch.where(exchanged[:, None], after, before)
            heights.append(target_probability(case.model, images, case.target))
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
    """Images blurred by the kernel of RISE's code (arXiv 1806.07421): 11×11 pixels, σ = 5, with its tails folded back.

    The padding has the colour that is zero in normalised units, as in that code.

    Args:
        images: B×C×H×W.
        mean: that colour, see ``attrobust.networks.smoothed.input_mean``.
    """
    from scipy.ndimage import gaussian_filter1d

    impulse = np.zeros(11)
    impulse[5] = 1
    row = torch.from_numpy(gaussian_filter1d(impulse, 5)).to(images)
    planes = (images - mean).flatten(0, 1)[:, None]
    return F.conv2d(planes, torch.outer(row, row)[None, None], padding=5).view_as(images) + mean
