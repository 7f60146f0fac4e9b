"""Sensitivity-n, correlation of a map's sums with changes of the logit: Ancona et al. 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.maps.lengths import PIXELS
from attrobust.maps.rows import centred, is_constant
from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.filling import Fill, filled
from attrobust.metrics.shared.logits import target_logit
from attrobust.naming.checks import at_least
from attrobust.types import Amount, Scope


@register("sensitivity-n")
@dataclass(frozen=True, kw_only=True)
class SensitivityN(Quality):
    """Pearson correlation of ``Σ_{i∈S} φ_i`` with ``f_c(x) - f_c(x without S)`` over random sets S of n pixels.

    From arXiv 1711.06104. φ are signed attributions, added up over channels; a pixel is removed in all channels. The
    paper draws the correlation against n, of which this is one. Quantus has it as faithfulness correlation (Bhatt et
    al. 2020); its own SensitivityN removes pixels in the map's order, not at random. NaN where all
    attributions are equal, since such a map tells no pixels apart, and where all shares of the logit are, so that every
    set has the same sum; where no set changes the logit; and where an attribution is not finite.

    Attributes:
        n: how many pixels a set has, a count or a percentage.
        samples: sets for each image; each takes a forward pass.
        fill: in place of pixels: ``mean``, the colour that is zero in normalised units, or ``black``.
        attribution: unit of a map's values. ``slope``, logits per pixel unit, for gradients: φ is multiplied by
            ``x - fill`` first. ``share``, logits, as in the paper, for integrated gradients and other products with the
            input.
    """

    n: Amount = Amount(10, percent=True)
    samples: int = 100
    fill: Fill = "mean"
    attribution: Literal["slope", "share"] = "slope"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scope: ClassVar[Scope] = "map"

    def __post_init__(self) -> None:
        at_least(2, self, "samples")

    @property
    def title(self) -> str:
        """E.g. ``sensitivity-10% (slope)``."""
        return f"sensitivity-{self.n} ({self.attribution})"

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where a set would be all pixels."""
        if self.n.of(height * width) >= height * width:
            raise ValueError(f"n={self.n} leaves none of the {height * width} pixels of a map; lower it")

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        x, streams = case.clean, case.streams("sensitivity-n")
        colour = filled(case, self.fill)
        shares = self._shares(case.clean_attributions, x - colour)
        before, count = target_logit(case.model, x, case.target), self.n.of(x.shape[2] * x.shape[3])
        sums, changes = [], []
        for _ in range(self.samples):
            removed = torch.zeros_like(shares, dtype=torch.bool)
            removed.scatter_(1, streams.uniform(shares).topk(count, dim=1).indices, True)
            sums.append(shares.where(removed, 0.0).sum(dim=1))
            moved = torch.where(removed.view(-1, 1, *x.shape[2:]), colour, x)
            changes.append(before - target_logit(case.model, moved, case.target))
        a, b = centred(torch.stack(sums, dim=1)), centred(torch.stack(changes, dim=1))
        correlation: Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
        return correlation.clamp(-1.0, 1.0).masked_fill(is_constant(case.clean_attributions.flatten(1)), float("nan"))

    def _shares(self, raw: Tensor, differences: Tensor) -> Tensor:
        """What each pixel is said to contribute, B×HW, less what the first one does; NaN where a value is not finite.

        All sets have n pixels, so a constant changes no correlation; and the sums of a constant map are exactly equal.
        """
        size = raw.abs().amax(dim=PIXELS, keepdim=True)
        values = raw / size
        if self.attribution == "slope":
            values = values * differences
        pixels: Tensor = values.sum(dim=1).flatten(1)
        return pixels - pixels[:, :1]
