"""Bounds for expectations hold as often as they promise, by exact probabilities and by many repetitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from attrobust.maps.concentration import mean_at_least, mean_at_most, share_at_least, share_at_most, shortfall

SHAPES = {
    "uniform": lambda rng, size: rng.uniform(-1, 1, size),
    "rare": lambda rng, size: np.where(rng.random(size) < 0.02, -1.0, 1.0),
    "narrow": lambda rng, size: 0.9 + 0.02 * rng.uniform(-1, 1, size),
    "coin": lambda rng, size: np.where(rng.random(size) < 0.5, -1.0, 1.0),
}
MEANS = {"uniform": 0.0, "rare": 0.96, "narrow": 0.9, "coin": 0.0}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [20, 200])
def test_the_mean_is_above_its_bound_as_often_as_promised(name: str, count: int) -> None:
    rng = np.random.default_rng(0)
    missed = (mean_at_least(SHAPES[name](rng, (4000, count)), 0.9) > MEANS[name]).mean()
    assert missed <= 0.1


def test_the_bound_of_the_mean_is_maurer_and_pontils_and_tighter_than_hoeffdings() -> None:
    values = SHAPES["narrow"](np.random.default_rng(0), (3, 1000))
    hoeffding = values.mean(axis=1) - math.sqrt(2 * math.log(100) / 1000)
    assert (mean_at_least(values, 0.99) > hoeffding + 0.06).all()
    for row, found in zip(values, mean_at_least(values, 0.99), strict=True):
        share = (row + 1) / 2
        pairs = ((share[:, None] - share[None]) ** 2).sum() / (2 * 1000 * 999)
        slack = math.sqrt(2 * pairs * math.log(200) / 1000) + 7 * math.log(200) / (3 * 999)
        assert found == pytest.approx(2 * (share.mean() - slack) - 1, abs=1e-12)


@pytest.mark.parametrize("tail", [0.2, 0.01])
def test_shares_are_bounded_by_clopper_and_pearsons_intervals(tail: float) -> None:
    counts = np.array([0.0, 3.0, 50.0, 100.0])
    lower, upper = share_at_least(counts, 100, tail), share_at_most(counts, 100, tail)
    for count, low, high in zip(counts, lower, upper, strict=True):
        wanted = binomtest(int(count), 100).proportion_ci(1 - 2 * tail, method="exact")
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("samples", [5, 80, 800])
@pytest.mark.parametrize("tail", [0.2, 0.01])
def test_a_mean_as_low_as_the_bound_allows_is_as_rare_as_promised(samples: int, tail: float) -> None:
    """Coins vary most among numbers in [0, 1] of one expectation."""
    for count in range(samples + 1):
        bound = mean_at_most(count / samples, samples, tail)
        assert count / samples <= bound <= 1
        if bound < 1:
            assert binom.cdf(count, samples, bound + 1e-9) <= tail
    assert mean_at_most(0.0, samples, tail) == pytest.approx(1 - tail ** (1 / samples), abs=1e-12)
    assert mean_at_most(1.0, samples, tail) == 1


def test_a_mean_next_to_1_has_a_bound() -> None:
    for mean in (1 - 2**-53, 1 - 1e-12, 0.9999, 0.999):
        for samples in (5, 800, 10**6):
            assert mean <= mean_at_most(mean, samples, 1e-4) <= 1


@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.97])
def test_a_mean_falls_short_by_more_than_bernsteins_bound_as_rarely_as_promised(probability: float) -> None:
    for samples in (10, 100, 10_000):
        slack = shortfall(probability * (1 - probability), probability, samples, 0.05)
        assert binom.cdf(math.ceil((probability - slack) * samples) - 1, samples, probability) <= 0.05
    hoeffding = math.sqrt(math.log(20) / (2 * samples))
    assert slack < (1.01 if probability == 0.5 else 0.85) * hoeffding
