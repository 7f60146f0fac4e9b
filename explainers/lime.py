"""LIME: Ribeiro et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.least_squares import fit
from attrobust.explainers.shared.masking import SegmentExplainer, paint
from attrobust.maps.segments import counts, draw, find


@register("lime")
@dataclass(frozen=True, kw_only=True)
class Lime(SegmentExplainer):
    """Coefficients of a linear model of the logit, fitted to random coalitions of segments (arXiv 1602.04938).

    Each coalition keeps every segment with probability one half and has weight ``exp(-d² / (2 width²))``, d the cosine
    distance between its mask and that of the whole image, ``1 - sqrt(|z| / S)``. Mask distance and ridge regression are
    those of the authors' code for images; Captum's Lime has them by ``similarity_func`` and ``SkLearnRidge``. Captum's
    default is a distance between images and a Lasso, whose coefficients have no useful derivative.

    Attributes:
        samples: number of coalitions; each takes one forward pass.
        width: of the kernel, a cosine distance; the authors' default.
        ridge: weight of the squared coefficients, in units of one coalition at full weight; the authors' default.
    """

    stochastic: ClassVar[bool] = True
    samples: int = 200
    width: float = 0.25
    ridge: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2:
            raise ValueError(f"samples={self.samples} must be at least 2 coalitions")
        if not 0 < self.width < float("inf"):
            raise ValueError(f"width={self.width:g} must be above 0")
        if not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge={self.ridge:g} must be above 0")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits.

        Raises:
            ValueError: fewer samples than segments.
        """
        self.check_enough(x, self.samples)
        labels = find(x, self.segments, self.size)
        kept = draw(labels, self.samples, generator) < 0.5
        distance = 1 - (kept.sum(dim=2).double() / counts(labels)[:, None]).sqrt()
        weight = (-(distance.square()) / (2 * self.width**2)).exp()
        values = self.values(model, x, target, labels, kept, create_graph=create_graph)
        return paint(fit(kept, weight, values, ridge=self.ridge), labels, x)
