"""Attention rollout: Abnar and Zuidema 2020."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attrobust.explainers import register
from attrobust.explainers.shared.attention import Attended, AttentionExplainer, heads


@register("attention-rollout")
@dataclass(frozen=True, kw_only=True)
class AttentionRollout(AttentionExplainer):
    """Attention rollout, the product of ``0.5 A + 0.5 I`` over the layers of a transformer (arXiv 2005.00928).

    A are attention probabilities, fused over heads; rows are normalised. Of the product it is the row of the class
    token, or the mean of the rows of all tokens that the logits read, without the columns of class, distillation and
    register tokens, put on the grid and upsampled. Every channel of the image gets an equal share. Attention does not
    depend on the explained class, so neither does the map.

    Attributes:
        fusion: how the heads of a layer become one matrix.
    """

    ignores_target: ClassVar[bool] = True

    fusion: Literal["mean", "max", "min"] = "mean"

    def matrices(self, attended: Attended, target: Tensor, *, create_graph: bool) -> Sequence[Tensor]:
        """See ``AttentionExplainer.matrices``; the sum of a row is 1."""
        return [self._mixed(heads(layer)) for layer in attended.layers]

    def _mixed(self, layer: Tensor) -> Tensor:
        fused = layer.mean(dim=1) if self.fusion == "mean" else getattr(layer, f"a{self.fusion}")(dim=1)
        mixed: Tensor = 0.5 * fused + 0.5 * torch.eye(fused.shape[1]).to(fused)
        return mixed / mixed.sum(dim=2, keepdim=True)
