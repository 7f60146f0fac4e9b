"""Similarity scores as objectives: each takes clean maps B×H×W and returns a function of other maps.

They are lower for a stronger attack, have the formula of ``attrobust.maps`` that the metric of the same name reports,
and are NaN where that is. Those of ranks have no derivative; ``stand_ins`` has surrogates of them.
"""

from __future__ import annotations

from torch import Tensor

from attrobust.attacks.engine.feasible import Objective
from attrobust.maps import similarity
from attrobust.maps import ssim as structural
from attrobust.maps.ranks import top_mask
from attrobust.maps.rows import Norm


def cosine(clean: Tensor) -> Objective:
    """Cosine, ``⟨a, b⟩ / (‖a‖ ‖b‖)``."""
    return lambda maps: similarity.cosine(clean.flatten(1), maps.flatten(1))


def normalized_l2(clean: Tensor, by: Norm = "l2") -> Objective:
    """Minus the distance of normalised maps, ``‖a/n(a) - b/n(b)‖₂``.

    Args:
        clean: maps, B×H×W.
        by: the norm n that each map is divided by.
    """
    return lambda maps: -similarity.normalized_l2(clean.flatten(1), maps.flatten(1), by)


def pearson(clean: Tensor) -> Objective:
    """Pearson's correlation of the values at all pixels."""
    return lambda maps: similarity.pearson(clean.flatten(1), maps.flatten(1))


def ssim(clean: Tensor) -> Objective:
    """Mean structural similarity over all 7×7 windows inside the map; it changes with the scale of the attacked map."""
    return lambda maps: structural.ssim(clean, maps)


def spearman(clean: Tensor) -> Objective:
    """Spearman's correlation, of average ranks."""
    ranks = similarity.centred_ranks(clean.flatten(1))
    return lambda maps: similarity.correlation_of_ranks(ranks, similarity.centred_ranks(maps.flatten(1)))


def kendall(clean: Tensor) -> Objective:
    """Kendall's tau-b."""
    return lambda maps: similarity.kendall(clean.flatten(1), maps.flatten(1))


def topk(clean: Tensor, k: int) -> Objective:
    """Top-k intersection: share of the k largest pixels common to both maps, earlier ones first among equals."""
    top = top_mask(clean.flatten(1), k)
    return lambda maps: similarity.shared(top, top_mask(maps.flatten(1), k), k)
