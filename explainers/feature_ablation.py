"""Feature ablation: removes one segment of the image at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.explainers import register
from attrobust.explainers.shared.masking import SegmentExplainer, gain, paint
from attrobust.maps.segments import counts, find


@register("feature-ablation")
@dataclass(frozen=True, kw_only=True)
class FeatureAblation(SegmentExplainer):
    """Drop of the logit when the pixel's segment s is greyed out, ``f_c(x) - f_c(x without s)``."""

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W, logits."""
        labels = find(x, self.segments, self.size)
        alone = torch.eye(int(counts(labels).max()), dtype=torch.bool)
        coalitions = ~torch.cat([torch.zeros_like(alone[:1]), alone])
        values = self.values(model, x, target, labels, coalitions[None], create_graph=create_graph)
        return paint(gain(values[:, :1], values[:, 1:]), labels, x)
