"""Bounds for the expectations of bounded numbers, from independent draws, that hold with a stated probability."""

from __future__ import annotations

import math

import numpy as np

from attrobust.arrays import Floats


def mean_at_least(values: Floats, confidence: float) -> Floats:
    """A lower bound for the expectation of numbers in [-1, 1], that holds with probability ``confidence``.

    The empirical Bernstein bound (Maurer and Pontil 2009, arXiv 0907.3740, theorem 4): with sample variance V and
    α = 1 - confidence, ``mean - √(2 V ln(2/α) / n) - 2 · 7 ln(2/α) / (3 (n - 1))``, the 2 being the width of [-1, 1].
    It is tighter than Hoeffding's ``√(2 ln(1/α) / n)`` where the variance is small, as it is for cosines between a
    direction and gradients: for 1000 draws of standard deviation 0.02 the slack is 0.03 in place of 0.1.

    Args:
        values: B×n, independent within a row, n at least 2.
        confidence: of each row's bound.
    """
    count = values.shape[1]
    level = math.log(2 / (1 - confidence))
    spread = np.sqrt(2 * level * values.var(axis=1, ddof=1) / count)
    bound: Floats = values.mean(axis=1) - spread - 14 * level / (3 * (count - 1))
    return bound


def share_at_least(counts: Floats, samples: int, tail: float) -> Floats:
    """Lower ends of one-sided Clopper and Pearson intervals: each is above the probability with at most ``tail``.

    Args:
        counts: of any shape, in how many of the samples the event happened.
        samples: n.
        tail: probability that a bound does not hold.
    """
    from scipy.stats import beta

    return np.where(counts > 0, beta.ppf(tail, counts, samples - counts + 1), 0.0)


def share_at_most(counts: Floats, samples: int, tail: float) -> Floats:
    """Upper ends of one-sided Clopper and Pearson intervals; see ``share_at_least``."""
    return 1 - share_at_least(samples - counts, samples, tail)


def mean_at_most(mean: float, samples: int, tail: float) -> float:
    """The largest expectation of numbers in [0, 1] whose mean is this low with a probability above ``tail``.

    Chernoff's bound ``P(mean ≤ a) ≤ exp(-n KL(a ‖ λ))`` (Hoeffding 1963, theorem 1), KL the divergence between coins of
    probabilities a and λ, solved for λ by bisection.

    Args:
        mean: a, of the samples.
        samples: n.
        tail: probability that the expectation is above the bound.
    """
    divergence = math.log(1 / tail) / samples
    low, high = min(max(mean, 0.0), 1.0), 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _coins(mean, middle) < divergence else (low, middle)
    return high


def _coins(a: float, b: float) -> float:
    """``KL(a ‖ b)`` of coins with these probabilities, b between a and 1."""
    if b >= 1:
        return math.inf if a < 1 else 0.0
    heads = a * math.log(a / b) if a > 0 else 0.0
    tails = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return heads + tails


def shortfall(variance: float, width: float, samples: int, tail: float) -> float:
    """How far a mean of independent numbers is below its expectation, but with probability ``tail``: Bernstein's bound.

    ``√(2 V ln(1/tail) / n) + b ln(1/tail) / (3 n)``.

    Args:
        variance: V, at least that of a number.
        width: b, at least the distance from the expectation to the smallest number.
        samples: n.
        tail: probability of a larger distance.
    """
    level = math.log(1 / tail) / samples
    return math.sqrt(2 * variance * level) + width * level / 3
