"""A linear model of the logits of coalitions of segments, fitted by weighted least squares."""

from __future__ import annotations

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-10
"""Singular values below this share of the largest count as zero."""


def fit(kept: Tensor, weight: Tensor, values: Tensor, *, ridge: float = 0.0) -> Tensor:
    """``argmin over φ of min over φ₀ of Σ_m w_m (v_m - φ₀ - Σ_s z_ms φ_s)² + ridge Σ_s φ_s²``.

    Without a ridge and where the coalitions do not determine φ, it is the solution of least norm. It is linear in the
    logits, so its derivative is exact, and a logit of NaN affects only its own image.

    Args:
        kept: the coalitions z, bool[1 or B, M, S].
        weight: w, float64[1 or B, M], positive.
        values: the logits v, float64[B, M].
        ridge: weight of the squared coefficients; the intercept φ₀ has none.

    Returns:
        float64[B, S], zero for a segment that no coalition keeps.
    """
    root = weight.sqrt().unsqueeze(2)
    members = kept.double()
    mean = (weight.unsqueeze(1) @ members) / weight.sum(dim=1).view(-1, 1, 1)
    left, size, right = torch.linalg.svd(root * (members - mean), full_matrices=False)
    usable = size > RANK_TOLERANCE * size.amax(dim=1, keepdim=True)
    shrunk = torch.where(usable, size / (size.square() + ridge).where(usable, 1.0), 0.0)
    # The columns are centred, so an offset of the logits drops out of the product and need not be removed.
    solve = (right.mT * shrunk.unsqueeze(1)) @ (root * left).mT
    coefficients: Tensor = (solve @ values.unsqueeze(2)).squeeze(2)
    return coefficients
