"""torch's attention functions, written out in products and softmax, so that the probabilities can be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """See ``torch.nn.functional.scaled_dot_product_attention``.

    Raises:
        ValueError: it has a mask or dropout, or its heads are in groups.
    """
    _refuse(
        ("a mask or a bias of positions", attn_mask is not None or is_causal),
        ("dropout", dropout_p > 0),
        ("heads in groups", enable_gqa),
    )
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    return scores.softmax(dim=-1) @ value


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,  # noqa: ARG001
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    **_separate: Any,
) -> tuple[Tensor, Tensor | None]:
    """See ``torch.nn.functional.multi_head_attention_forward``; queries, keys and values are N×B×E.

    Raises:
        ValueError: it has masks, dropout, projections apart, further keys, or one image without a batch.
    """
    masked = is_causal or key_padding_mask is not None or attn_mask is not None
    _refuse(
        ("a mask or a bias of positions", masked),
        ("dropout", training and dropout_p > 0),
        ("projections that are stored apart", use_separate_proj_weight or in_proj_weight is None),
        ("further keys", add_zero_attn or bias_k is not None or bias_v is not None),
        ("tokens without a batch", query.dim() != 3),
    )
    assert in_proj_weight is not None
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    parts = [
        # N×B×E to B×H×N×(E/H)
        F.linear(tokens, weight, bias).view(*tokens.shape[:2], num_heads, -1).permute(1, 2, 0, 3)
        for tokens, weight, bias in zip((query, key, value), in_proj_weight.chunk(3), biases, strict=True)
    ]
    scores = (parts[0] / math.sqrt(parts[0].shape[-1])) @ parts[1].transpose(-2, -1)
    probabilities = scores.softmax(dim=-1)
    attended = F.linear((probabilities @ parts[2]).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if not need_weights:
        return attended, None
    return attended, probabilities.mean(dim=1) if average_attn_weights else probabilities


def _refuse(*found: tuple[str, bool]) -> None:
    for what, there in found:
        if there:
            raise ValueError(f"the network has attention with {what}, which this explainer has no formula for")


WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: scaled_dot_product_attention,
    F.multi_head_attention_forward: multi_head_attention_forward,
}
"""By torch's function, the same written out."""
