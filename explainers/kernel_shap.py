"""Kernel SHAP: Lundberg and Lee 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.least_squares import fit
from attrobust.explainers.shared.masking import SegmentExplainer, paint
from attrobust.maps.segments import counts, draw, find

CERTAIN = 1e6
"""Weight of the full and the empty coalition, infinite in the paper; the value is Captum's."""


@register("kernel-shap")
@dataclass(frozen=True, kw_only=True)
class KernelShap(SegmentExplainer):
    """Shapley values of the segments by weighted least squares over sampled coalitions (arXiv 1705.07874, theorem 2).

    Coalitions are drawn from the Shapley kernel ``π(z) ∝ (S-1) / (binom(S,|z|) |z| (S-|z|))`` and have equal weights;
    the full and the empty one are always included. Where an image has too many superpixels for the samples, its values
    are the least-squares solution of least norm.

    Attributes:
        samples: number of coalitions, including the full and the empty one; each takes one forward pass.
    """

    stochastic: ClassVar[bool] = True
    samples: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 3:
            raise ValueError(f"samples={self.samples} must be at least 3 coalitions")

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits; an image's segments sum to ``f_c(x) - f_c(x0)``, x0 the flat grey, up to a share of 1e-6.

        Raises:
            ValueError: fewer samples than segments.
        """
        self.check_enough(x, self.samples)
        labels = find(x, self.segments, self.size)
        kept = coalitions(labels, self.samples, generator)
        weight = torch.ones(1, self.samples, dtype=torch.float64)
        weight[:, :2] = CERTAIN
        values = self.values(model, x, target, labels, kept, create_graph=create_graph)
        # Equal shares fit the two heavy coalitions exactly; with residuals of 0, their weights amplify no rounding.
        full, empty = values[:, :1], values[:, 1:2]
        share = (full - empty) / counts(labels)[:, None]
        return paint(share + fit(kept, weight, values - empty - share * kept.sum(dim=2)), labels, x)


def coalitions(labels: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """The full and the empty coalition, then draws from the Shapley kernel, bool[L, samples, S].

    First the size of each is drawn, then it takes the first segments of a random permutation.
    """
    rank = draw(labels, samples - 2, generator).argsort(dim=2).argsort(dim=2)
    uniform = torch.rand(samples - 2, generator=generator, dtype=torch.float64)
    number = counts(labels)[:, None]
    size = torch.arange(1, max(2, int(number.max())))
    chance = torch.where(size < number, 1 / (size * (number - size).clamp_min(1)).double(), 0.0).cumsum(dim=1)
    chosen = torch.searchsorted(chance, uniform * chance[:, -1:], right=True) + 1
    drawn = rank < chosen.minimum(number - 1).clamp_min(1).unsqueeze(2)
    full = (torch.arange(rank.shape[2]) < number).unsqueeze(1)
    return torch.cat([full, torch.zeros_like(full), drawn], dim=1)
