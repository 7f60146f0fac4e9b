"""Transformer attribution: Chefer, Gur and Wolf 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrobust.explainers import register
from attrobust.explainers.shared.attention import Attended, AttentionExplainer, heads
from attrobust.explainers.shared.attention_relevance import relevances


@register("transformer-attribution")
@dataclass(frozen=True, kw_only=True)
class TransformerAttribution(AttentionExplainer):
    """Transformer attribution, from gradient and relevance of attention (arXiv 2012.09838).

    Each layer has ``Ā = I + mean_h (∇A ⊙ R)⁺``, with the derivative ∇A of the explained logit by the attention
    probabilities of a head, and their relevance R. The map is the class token's row of the product of Ā over the
    layers, or the mean of the rows of all tokens that the logits read, put on the grid and upsampled. Every channel of
    the image gets an equal share. Layers count from the logits in the paper, so the last one is the leftmost factor, as
    in the authors' code, whose values these are for a batch of one image.
    """

    def matrices(self, attended: Attended, target: Tensor, *, create_graph: bool) -> Sequence[Tensor]:
        """See ``AttentionExplainer.matrices``; entries are not negative."""
        gradients = attended.gradients(target, attended.layers, create_graph=create_graph)
        parts = [
            heads(gradient * relevance).clamp(min=0).mean(dim=1)
            for gradient, relevance in zip(gradients, relevances(attended, target), strict=True)
        ]
        return [part + torch.eye(part.shape[1]).to(part) for part in parts]
