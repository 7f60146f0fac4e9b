"""Certificates: bounds on how much a map that is averaged over noise can change within a radius.

The change of such an average is bounded by how far the noise's distribution moves with the image. The bounds are about
the *expected* map, which random draws estimate, for a fixed explained class. They hold with a stated probability over
the draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attrobust.arrays import Floats, Integers
from attrobust.maps.concentration import mean_at_least, share_at_least, share_at_most


@dataclass(frozen=True, kw_only=True)
class TopKCertificate:
    """Certified top-k overlap of an expected map whose values lie in [0, 1].

    Attributes:
        overlap: at least this share of the estimated top k is in the top k of every image within the radius,
            float64[B].
        lower, upper: bounds of every pixel's value within the radius, B×H×W.
        k: number of pixels.
        radius: l2, in pixel units.
        confidence: probability over the draws that all bounds of one image hold.
    """

    overlap: Floats
    lower: Floats
    upper: Floats
    k: int
    radius: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class CosineCertificate:
    """Certified lower bound for the cosine between an expected map and a fixed direction.

    Attributes:
        cosine: the expected map of every image within the radius has at least this cosine with ``direction``,
            float64[B]; -1 where nothing can be certified.
        direction: unit vectors estimated from draws of their own, B×C×H×W.
        norm: of the radius, ``linf`` or ``l2``.
        radius: in pixel units.
        confidence: probability over the draws that the bound of one image holds.
    """

    cosine: Floats
    direction: Floats
    norm: str
    radius: float
    confidence: float


def check_promise(radius: float, confidence: float) -> None:
    """Raise ValueError unless ``radius >= 0`` and ``0 < confidence < 1``."""
    if not radius >= 0:
        raise ValueError(f"radius={radius:g} must be 0 or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence:g} must be between 0 and 1")


def certify_top_k(
    counts: Floats,
    samples: int,
    *,
    k: int,
    stdev: float,
    radius: float,
    confidence: float,
    chosen: Integers | None = None,
) -> TopKCertificate:
    """Top-k certificate of the mean of 0/1 maps under Gaussian noise (Levine et al. 2019, arXiv 1905.12105).

    Each pixel's probability is bounded by Clopper and Pearson's interval at a level shared by all pixels (Bonferroni).
    Within an l2 radius ρ a probability p stays in ``[Φ(Φ⁻¹(p) - ρ/s), Φ(Φ⁻¹(p) + ρ/s)]``, and a pixel stays among the k
    largest if fewer than k others can reach its lower bound.

    Args:
        counts: B×H×W, in how many of the samples a pixel was 1.
        samples: n.
        k: number of pixels.
        stdev: s, in pixel units.
        radius: ρ, in pixel units.
        confidence: of all bounds of an image together.
        chosen: the k pixels whose overlap is certified, int64 B×k, positions in a flattened map; by default those of
            the largest counts.
    """
    from scipy.stats import norm

    flat = counts.reshape(len(counts), -1)
    tail = (1 - confidence) / (2 * flat.shape[1])
    low, high = share_at_least(flat, samples, tail), share_at_most(flat, samples, tail)
    lower, upper = norm.cdf(norm.ppf(low) - radius / stdev), norm.cdf(norm.ppf(high) + radius / stdev)
    overlap = np.zeros(len(flat))
    for row, (values, below, above) in enumerate(zip(flat, lower, upper, strict=True)):
        held = np.argsort(-values, kind="stable")[:k] if chosen is None else chosen[row]
        reachable = np.sort(above)
        # Number of other pixels whose upper bound is at or above this one's lower bound. The pixel itself is always
        # among those counted, since upper >= lower: hence the -1.
        rivals = len(above) - np.searchsorted(reachable, below[held], side="left") - 1
        overlap[row] = float((rivals < k).mean())
    shape = counts.shape
    return TopKCertificate(
        overlap=overlap,
        lower=lower.reshape(shape),
        upper=upper.reshape(shape),
        k=k,
        radius=radius,
        confidence=confidence,
    )


def certified_cosine(
    cosines: Floats, direction: Floats, *, variation: float, norm_name: str, radius: float, confidence: float
) -> CosineCertificate:
    """Cosine certificate of the mean of unit vectors under noise whose distribution moves by ``variation``.

    With u the unit vector of a draw and d the direction, moving the noise by total variation v changes ``E⟨d, u⟩``, the
    expectation of a number in [-1, 1], by at most 2v; and since the expected vector is no longer than 1, its cosine
    with d is at least its product with d where that is positive.

    Args:
        cosines: B×n of ``⟨d, u⟩``, draws independent of d.
        direction: unit vectors d, B×C×H×W.
        variation: v, total variation between the noise around an image and around the farthest point within the radius.
        norm_name, radius, confidence: as stored.
    """
    return CosineCertificate(
        cosine=_where_positive(mean_at_least(cosines, confidence) - 2 * variation),
        direction=direction,
        norm=norm_name,
        radius=radius,
        confidence=confidence,
    )


def _where_positive(bound: Floats) -> Floats:
    """The bounds that are positive; -1, the trivial bound of a cosine, in place of the others."""
    return np.where(bound > 0, bound, -1.0)


def box_variation(radius: float, side: float, dimension: int, norm_name: str) -> float:
    """Total variation between uniform noise on ``[-side, side]^d`` and the same moved by at most ``radius``.

    The boxes overlap in a share of ``Π (1 - |δ_i| / 2 side)``. Within an l2 radius of at most ``side`` the logarithm of
    each factor is convex in ``δ_i²``, so the product is smallest where all are equal; for a larger radius nothing is
    claimed.
    """
    if norm_name == "l2":
        return 1.0 if radius > side else 1 - (1 - radius / (math.sqrt(dimension) * 2 * side)) ** dimension
    return 1.0 if radius >= 2 * side else 1 - (1 - radius / (2 * side)) ** dimension


def ball_variation(radius: float, ball: float, dimension: int) -> float:
    """Total variation between uniform noise on the l2 ball of radius ``ball`` and the same moved by l2 ``radius``.

    Two balls at distance ρ share ``I_{1-(ρ/2r)²}((d+1)/2, 1/2)`` of their volume, I the regularised incomplete beta
    function.
    """
    from scipy.stats import beta

    ratio = radius / (2 * ball)
    return 1.0 if ratio >= 1 else 1 - float(beta.cdf(1 - ratio**2, (dimension + 1) / 2, 0.5))
