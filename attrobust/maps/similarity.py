"""How alike two maps of an image are: the formulas that metrics report and attacks descend.

Maps are rows of values, B×D, of one float type; each function returns one number for each row. Values of the two rows
are compared pixel by pixel, so where they lie in the image does not matter. NaN where the number is undefined, as each
function says. Correlations are not cut to [-1, 1], from which rounding may take them: a cut has no derivative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attrobust.maps.ranks import sorted_ranks, top_mask
from attrobust.maps.rows import Norm, centred, with_norm


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """``⟨a, b⟩ / (‖a‖ ‖b‖)``, float[B], differentiable; NaN where a map is zero everywhere."""
    (a, size_a), (b, size_b) = with_norm(a, "l2"), with_norm(b, "l2")
    products: Tensor = (a * b).sum(dim=1)
    return products / size_a.flatten() / size_b.flatten()


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the maps less their means, float[B], differentiable; NaN where a map is constant."""
    return cosine(centred(a), centred(b))


def normalized_l2(a: Tensor, b: Tensor, by: Norm = "l2") -> Tensor:
    """Distance ``‖a/n(a) - b/n(b)‖₂``, n the norm ``by``; float[B], differentiable; NaN where a map is zero."""
    (a, size_a), (b, size_b) = with_norm(a, by), with_norm(b, by)
    distance: Tensor = (a / size_a).addcdiv_(b, size_b, value=-1).norm(dim=1)
    return distance


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of average ranks, float64[B], without a derivative; NaN where a map is constant."""
    return correlation_of_ranks(centred_ranks(a), centred_ranks(b))


def centred_ranks(rows: Tensor) -> Tensor:
    """Average ranks less their mean, float64 B×D."""
    return sorted_ranks(rows) - (rows.shape[1] + 1) / 2


def correlation_of_ranks(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of centred ranks, float64[B]; NaN where all are equal."""
    dot = torch.linalg.vecdot
    correlation: Tensor = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    return correlation


def kendall(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's tau-b, ``(P - Q) / √((P + Q + X)(P + Q + Y))``, float64[B], without a derivative; NaN where constant.

    P pairs of pixels are in the same order in both maps, Q in opposite orders, X are tied in the first map only and Y
    in the second only (Kendall, Biometrika 33(3), 1945). SciPy counts them in O(D log D), on the CPU.
    """
    from scipy.stats import kendalltau

    rows = zip(a.detach().cpu().numpy(), b.detach().cpu().numpy(), strict=True)
    values = [kendalltau(one, other).statistic for one, other in rows]
    return torch.tensor(values, dtype=torch.float64, device=a.device)


def shared_top(a: Tensor, b: Tensor, k: int) -> Tensor:
    """``|T_k(a) ∩ T_k(b)| / k``, T_k the k largest pixels (arXiv 1710.10547); float64[B], without a derivative.

    Of equal values the earlier pixels are taken, by which it is defined for constant maps too.
    """
    return shared(top_mask(a, k), top_mask(b, k), k)


def shared(a: Tensor, b: Tensor, k: int) -> Tensor:
    """The share of the pixels of two masks of k pixels, bool B×D, that is in both; float64[B]."""
    return (a & b).sum(dim=1).double() / k
