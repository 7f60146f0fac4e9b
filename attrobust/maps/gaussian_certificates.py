"""What draws around an image certify of an average over Gaussian noise, at every image within an l2 radius.

With L the likelihood ratio of the noise around x' to that around x, ``‖x' - x‖ ≤ ρ``, the expectation of a function f
changes in two ways that draws around x alone can bound:

1. ``P(f ≥ t)`` falls from p to no less than ``Φ(Φ⁻¹(p) - ρ/s)`` (Neyman and Pearson). Added up over the levels t, this
   bounds the expectation (Kumar et al. 2020, arXiv 2009.08061).
2. ``E'f - E f = E (f - c)(L - 1)`` for every constant c, which is at most ``√(E (f - c)²) · √(exp(ρ²/s²) - 1)``: Cauchy
   and Schwarz, with the χ² divergence of the two noises (divergences certify in Dvijotham et al., ICLR 2020).

The second is for many functions at once: of all ``f = ⟨v, u⟩`` with v a unit vector, the largest ``E (f - ⟨v, c⟩)²`` is
the largest eigenvalue of ``E (u - c)(u - c)ᵀ``. The maximum is attained by one v, which does not depend on the draws;
so a bound for the mean of one number is enough, and the largest eigenvalue of the sample is never below its mean.
"""

from __future__ import annotations

import math

import numpy as np

from attrobust.arrays import Booleans, Floats
from attrobust.maps.concentration import mean_at_most, share_at_least, shortfall

LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
"""Quantiles of the held-out draws at which probabilities are bounded. Any choice is valid; these lose little."""
ROUNDING = 1e-12
"""How far levels are lowered, so that rounding does not put equal numbers below them."""


def gaussian_cosine(
    held_out: Floats, draws: Floats, direction: Floats, *, stdev: float, radius: float, confidence: float
) -> float:
    """Lower bound for the cosine between a direction and the expectation of unit vectors, within l2 radius ρ.

    With ``h(x) = E u(x + s η)``, η ~ N(0, I), d a unit vector and h⊥ the part of h that is orthogonal to d:

    1. ``a ≤ ⟨d, h(x')⟩`` by the levels of ``⟨d, u⟩``.
    2. ``b ≥ ‖h⊥(x')‖``: ``‖h⊥(x)‖``, which is the expectation of ``⟨v, u⟩`` for one unit vector v, by Bernstein's
       inequality, plus the change of ``⟨v, u⟩`` for any v orthogonal to d, by its second moment.
    3. The cosine ``⟨d, h⟩ / ‖h‖`` is at least ``a / √(a² + b²)`` where a is positive; and at least a, as ``‖h‖ ≤ 1``.

    Each of the three random bounds has a third of the error probability.

    Args:
        held_out: unit vectors from draws of their own, m×D; they place the levels.
        draws: unit vectors u from further draws around the image, n×D.
        direction: d, a unit vector that does not depend on ``draws``, D.
        stdev: s, above 0, in pixel units.
        radius: ρ, in pixel units.
        confidence: of the bound.

    Returns:
        The bound; -1, the trivial one, where nothing can be certified or a vector is not finite.
    """
    if not all(np.isfinite(numbers).all() for numbers in (held_out, draws, direction)):
        return -1.0
    samples, tail = len(draws), (1 - confidence) / 3
    along = draws @ direction
    a = _expectation_at_least(along, _levels(held_out @ direction), radius / stdev, tail)
    if not a > 0:
        return -1.0
    across = draws - np.outer(along, direction)
    moment = mean_at_most(_largest_eigenvalue(across), samples, tail)
    here = float(np.linalg.norm(across.mean(axis=0))) + shortfall(moment, 2.0, samples, tail)
    b = here + math.sqrt(moment) * _chi(radius / stdev)
    return max(a, a / math.hypot(a, b))


def swaps_possible(
    draws: Floats, chosen: Booleans, centre: Floats, *, size: int, stdev: float, radius: float, confidence: float
) -> int:
    """How many of k chosen pixels may be missing from the k largest of an expected 0/1 map, within l2 radius ρ.

    If m of the chosen set S are not among the k largest at x', then m pixels A of S and m pixels B outside it have
    ``Σ_A p(x') ≤ Σ_B p(x')``, p the expected map. For ``f = Σ_B u - Σ_A u``, u a draw's map:

    1. ``E f`` at x is at most its maximum over A and B, which one pair attains that does not depend on the draws. The
       draws' own maximum is no smaller than the mean of that pair, so Bernstein's inequality for one pair is enough.
    2. ``E f`` changes by no more than ``√(2 m λ) · √(exp(ρ²/s²) - 1)``, λ the largest ``E ⟨v, u - c⟩²`` over the
       vectors ``v = (1_B - 1_A) / √(2 m)``. As ``|⟨v, u - c⟩| ≤ √(2 m)``, λ is bounded once for each power of 2 that m
       goes up to.

    m is possible unless the sum is negative. One half of the error probability is for each step.

    Args:
        draws: maps u around the image with at most ``size`` ones each, n×D.
        chosen: bool D, the set S; it and ``centre`` do not depend on ``draws``.
        centre: c, an average of such maps, D.
        size: of the set of ones of a draw.
        stdev, radius, confidence: as in ``gaussian_cosine``.

    Returns:
        The largest m that is possible, from 0 to k.
    """
    samples, error, mean = len(draws), 1 - confidence, draws.mean(axis=0)
    inside, outside = np.sort(mean[chosen]), np.sort(mean[~chosen])[::-1]
    most = min(len(inside), len(outside))
    if most == 0:
        return 0
    gaps = np.cumsum(inside[:most] - outside[:most])
    sample_moment = _largest_eigenvalue(draws - centre)
    longest = size + float(centre @ centre)
    widths = [min(2.0 * 2**i, longest) for i in range(most.bit_length() + 1)]
    tail = error / (2 * len(widths))
    moments = [width * mean_at_most(sample_moment / width, samples, tail) for width in widths]
    chi, possible = _chi(radius / stdev), 0
    for m in range(1, most + 1):
        moment = moments[(m - 1).bit_length()]
        slack = shortfall(2 * m * moment, 2.0 * m, samples, error / (2 * most))
        if gaps[m - 1] <= slack + math.sqrt(2 * m * moment) * chi:
            possible = m
    return possible


def _levels(values: Floats) -> Floats:
    """Numbers in (-1, 1), ascending: some quantiles, and one below them all by a third of their range."""
    quantiles = np.quantile(values, LEVELS)
    below = quantiles[0] - (quantiles[-1] - quantiles[0]) / 3
    levels = np.unique(np.append(quantiles, below) - ROUNDING)
    chosen: Floats = levels[(levels > -1) & (levels < 1)]
    return chosen


def _expectation_at_least(values: Floats, levels: Floats, shift: float, tail: float) -> float:
    """Lower bound of the expectation of numbers in [-1, 1] after the noise has moved by ``shift`` deviations."""
    from scipy.stats import norm

    if not len(levels):
        return -1.0
    counts = np.array([(values >= level).sum() for level in levels], dtype=np.float64)
    moved = norm.cdf(norm.ppf(share_at_least(counts, len(values), tail / len(levels))) - shift)
    return float(-1 + (np.diff(levels, prepend=-1.0) * moved).sum())


def _largest_eigenvalue(vectors: Floats) -> float:
    """Of the mean of ``v vᵀ`` over the rows, n×D."""
    from scipy.linalg import eigh

    rows, columns = vectors.shape
    products = (vectors @ vectors.T if rows < columns else vectors.T @ vectors) / rows
    last = len(products) - 1
    (largest,) = eigh(products, eigvals_only=True, subset_by_index=(last, last))
    return max(0.0, float(largest))


def _chi(shift: float) -> float:
    """``√(exp(shift²) - 1)``, the root of the χ² divergence of Gaussians that are ``shift`` deviations apart."""
    return math.sqrt(math.expm1(min(shift * shift, 700.0)))
