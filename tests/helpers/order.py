"""Measures of order by their definitions, slow and plain."""

from __future__ import annotations

import math

import numpy as np


def tau_b(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of two maps: agreement of the signs of all differences; NaN where a map is constant.

    ``Σ sgn(a_i - a_j) sgn(b_i - b_j) / √(Σ sgn²(a_i - a_j) Σ sgn²(b_i - b_j))`` over all pairs of pixels, summed over
    pairs of different values and how often these meet.
    """
    (_, at_a), (_, at_b) = (np.unique(values.ravel(), return_inverse=True) for values in (a, b))
    meet = np.zeros((at_a.max() + 1, at_b.max() + 1))
    np.add.at(meet, (at_a, at_b), 1)
    sign_a, sign_b = (np.sign(np.subtract.outer(*2 * [np.arange(levels)])).astype(float) for levels in meet.shape)
    agreement = float((meet * (sign_a @ meet @ sign_b.T)).sum())
    often_a, often_b = meet.sum(axis=1), meet.sum(axis=0)
    apart = float(often_a @ abs(sign_a) @ often_a) * float(often_b @ abs(sign_b) @ often_b)
    return agreement / math.sqrt(apart) if apart else math.nan
