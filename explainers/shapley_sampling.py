"""Shapley value sampling: Castro et al. 2009."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.masking import SegmentExplainer, gain, paint
from attrobust.maps.segments import draw, find


@register("shapley-sampling")
@dataclass(frozen=True, kw_only=True)
class ShapleySampling(SegmentExplainer):
    """Shapley values of the segments: mean over π of ``f_c(s and all before it in π) - f_c(all before s in π)``.

    Castro, Gómez and Tejada 2009, "Polynomial calculation of the Shapley value based on sampling". Permutations π are
    uniform, and the same for all images. The values of an image's segments sum to ``f_c(x) - f_c(x0)``, x0 the flat
    grey.

    Attributes:
        samples: number of permutations; each takes one forward pass for every segment.
    """

    stochastic: ClassVar[bool] = True
    samples: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"samples={self.samples} must be at least 1 permutation")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        labels = find(x, self.segments, self.size)
        rank = draw(labels, self.samples, generator).argsort(dim=2).argsort(dim=2)
        prefixes = (rank[:, :, None] <= torch.arange(rank.shape[2])[:, None]).flatten(1, 2)
        kept = torch.cat([torch.zeros_like(prefixes[:, :1]), prefixes], dim=1)
        values = self.values(model, x, target, labels, kept, create_graph=create_graph)
        after = values[:, 1:].view(len(x), *rank.shape[1:])
        before = torch.cat([values[:, :1, None].expand(-1, self.samples, -1), after[:, :, :-1]], dim=2)
        gains = gain(after, before).gather(2, rank.expand(len(x), -1, -1))
        return paint(gains.mean(dim=1), labels, x)
