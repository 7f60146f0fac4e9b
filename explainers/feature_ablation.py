"""Feature ablation: one segment at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.masking import SegmentExplainer, gain, paint
from attrobust.explainers.shared.segments import counts, find


@register("feature-ablation")
@dataclass(frozen=True, kw_only=True)
class FeatureAblation(SegmentExplainer):
    """``f_c(x) - f_c(x without s)`` for the segment s of the pixel."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        labels = find(x, self.segments, self.size)
        alone = torch.eye(int(counts(labels).max()), dtype=torch.bool)
        kept = ~torch.cat([torch.zeros_like(alone[:1]), alone])
        values = self.values(model, x, target, labels, kept[None], create_graph=create_graph)
        return paint(gain(values[:, :1], values[:, 1:]), labels, x)
