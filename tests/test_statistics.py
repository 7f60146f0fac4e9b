"""Intervals and ties, against simulation and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from benchmark.audit.comparison import beaten
from benchmark.statistics import distinguishable, estimate


def test_the_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(0).beta(2, 1, 80)
    ours = estimate(values)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=1).confidence_interval
    assert ours.mean == values.mean()
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * width
    assert abs(ours.high - theirs.high) < 0.05 * width


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        found = estimate(rng.beta(5, 2, 64))
        hits += found.low <= 5 / 7 <= found.high
    assert 0.92 <= hits / 1000 <= 0.97


def test_undefined_scores_are_left_out_and_counted() -> None:
    found = estimate(np.array([0.5, np.nan, 0.7]))
    assert (found.n, found.defined) == (3, 2)
    assert found.mean == pytest.approx(0.6)
    nothing = estimate(np.array([np.nan, np.nan]))
    assert nothing.defined == 0
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_large_lists_are_resampled_in_blocks_with_the_same_result_as_normal_theory() -> None:
    values = np.random.default_rng(2).normal(3, 1, 20_000)
    found = estimate(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_pairing_sees_differences_that_separate_intervals_hide() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0, 1, 100)
    b = a + rng.normal(0.05, 0.02, 100)
    assert estimate(a).high > estimate(b).low
    assert distinguishable(a, b)
    assert distinguishable(b, a)
    assert not distinguishable(a, a)


def test_methods_that_are_alike_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(4)
    wrong = sum(distinguishable(rng.normal(0, 1, 64), rng.normal(0, 1, 64)) for _ in range(1000))
    assert wrong / 1000 <= 0.08


def test_scores_of_zero_and_one_have_wilsons_interval() -> None:
    perfect = estimate(np.ones(300))
    assert perfect.mean == perfect.high == 1.0
    assert perfect.low == pytest.approx(300 / (300 + 1.959964**2), abs=1e-6)
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(1000):
        found = estimate((rng.uniform(size=100) < 0.97).astype(float))
        hits += found.low <= 0.97 <= found.high
    assert 0.92 <= hits / 1000 <= 0.98


@pytest.mark.parametrize(("attack", "higher", "raised"), [(0.4, True, False), (0.6, True, True), (0.4, False, True)])
def test_noise_that_beats_an_attack_raises_a_flag(attack: float, higher: bool, raised: bool) -> None:
    flag = beaten(np.full(5, attack), np.full(5, 0.5), "noise", higher_is_better=higher)
    assert (flag is not None) == raised
    if flag:
        assert f"{attack:.4f}" in flag.reason
