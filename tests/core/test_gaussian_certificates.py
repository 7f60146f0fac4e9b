"""Certificates of Gaussian averages: valid and close where the worst is known, and right about every set of pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from attrobust.arrays import Floats
from attrobust.maps.gaussian_certificates import gaussian_cosine, swaps_possible

STDEV = 0.5


def two_sided(inside: Floats, outside: Floats, probability: float, count: int) -> Floats:
    """Exactly the share ``probability`` of draws has one vector, and the others another: a half-space."""
    first = round(probability * count)
    return np.concatenate([np.tile(inside, (first, 1)), np.tile(outside, (count - first, 1))])


@pytest.mark.parametrize("probability", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.6])
def test_the_cosine_bound_is_below_the_worst_of_a_half_space_and_near_it(probability: float, shift: float) -> None:
    one, other = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    draws = two_sided(one, other, probability, 20_000)
    direction = np.array([probability, 1 - probability, 0.0])
    direction /= np.linalg.norm(direction)
    found = gaussian_cosine(draws[::100], draws, direction, stdev=STDEV, radius=shift * STDEV, confidence=0.99)
    left = norm.cdf(norm.ppf(probability) - shift)
    worst = float(np.array([left, 1 - left, 0.0]) @ direction) / math.hypot(left, 1 - left)
    assert worst - 0.15 < found <= worst


def test_a_direction_that_turns_evenly_is_bounded_by_how_far_it_turns() -> None:
    """Unit gradients ``(cos a, sin a)``, a linear in z: h turns by as much as a, and shrinks nowhere."""
    speed, rng = 0.8, np.random.default_rng(0)
    angles = speed * STDEV * rng.standard_normal((2, 5000))
    held_out, draws = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in angles)
    direction = np.array([1.0, 0.0])
    for radius in (0.05, 0.2, 0.4):
        found = gaussian_cosine(held_out, draws, direction, stdev=STDEV, radius=radius, confidence=0.99)
        assert math.cos(speed * radius) - 0.25 < found <= math.cos(speed * radius)


def test_the_cosine_bound_holds_as_often_as_promised() -> None:
    one, other, rng = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.random.default_rng(0)
    probability, count, shift = 0.9, 60, 0.1
    left = norm.cdf(norm.ppf(probability) - shift)
    worst, missed = left / math.hypot(left, 1 - left), 0
    for _ in range(300):
        draws = np.where(rng.random((count, 1)) < probability, one, other)
        missed += gaussian_cosine(draws[:12], draws[12:], one, stdev=1.0, radius=shift, confidence=0.5) > worst
    assert missed <= 150


@pytest.mark.parametrize("draws", [np.full((50, 4), np.nan), np.zeros((50, 4))], ids=["not finite", "zero"])
def test_nothing_is_certain_of_vectors_without_a_direction(draws: Floats) -> None:
    direction = np.array([1.0, 0.0, 0.0, 0.0])
    assert gaussian_cosine(draws, draws, direction, stdev=STDEV, radius=0.0, confidence=0.9) == -1


@pytest.mark.parametrize("probability", [0.6, 0.9, 0.999])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, 1.5])
def test_no_pixels_are_certified_that_a_half_space_swaps_at_once(probability: float, shift: float) -> None:
    """Draws have the first three pixels on one side of a plane and the last three on the other."""
    one, other = np.repeat([1.0, 0.0], 3), np.repeat([0.0, 1.0], 3)
    draws = two_sided(one, other, probability, 4000)
    found = swaps_possible(
        draws, one > 0, draws.mean(axis=0), size=3, stdev=STDEV, radius=shift * STDEV, confidence=0.99
    )
    swapped = norm.cdf(norm.ppf(probability) - shift) <= 0.5
    assert found == 3 if swapped else found in (0, 3)
    if probability > 0.9 and shift <= 0.5:
        assert found == 0, "a certificate of nothing would pass this test"


def smallest_gap(mean: Floats, chosen: Floats, m: int) -> float:
    """``Σ_A - Σ_B`` of the worst m pixels A of a set and m others B, by trying all."""
    inside, outside = mean[chosen], mean[~chosen]
    return min(
        sum(inside[list(a)]) - sum(outside[list(b)])
        for a in itertools.combinations(range(len(inside)), m)
        for b in itertools.combinations(range(len(outside)), m)
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_set_of_swapped_pixels_was_thought_of(seed: int) -> None:
    """Without movement and with draws without limit, m swaps are possible where some A and B have equal sums."""
    rng = np.random.default_rng(seed)
    patterns = rng.permuted(np.tile(np.repeat([1.0, 0.0], [3, 5]), (6, 1)), axis=1)
    draws = np.repeat(patterns, 200_000, axis=0)
    mean, chosen = draws.mean(axis=0), np.isin(np.arange(8), rng.permutation(8)[:3])
    found = swaps_possible(draws, chosen, mean, size=3, stdev=1.0, radius=0.0, confidence=0.99)
    # Means are multiples of 1/6: sums that differ differ by more than the slack of 1.2 million draws.
    assert found == max([m for m in (1, 2, 3) if smallest_gap(mean, chosen, m) <= 1e-9], default=0)


def test_a_longer_radius_and_fewer_draws_certify_less() -> None:
    rng = np.random.default_rng(1)
    heights = rng.standard_normal(40) + np.linspace(0, 2, 40)
    draws = (heights + rng.standard_normal((1200, 40))).argsort(axis=1).argsort(axis=1) >= 32
    chosen = np.isin(np.arange(40), np.argsort(-heights)[:8])

    def missing(count: int, radius: float) -> int:
        some = draws[:count].astype(float)
        return swaps_possible(some, chosen, some.mean(axis=0), size=8, stdev=1.0, radius=radius, confidence=0.99)

    by_radius = [missing(1200, radius) for radius in (0.0, 0.05, 0.3, 1.0)]
    assert by_radius == sorted(by_radius)
    assert by_radius[0] < by_radius[-1] == 8
    assert missing(1200, 0.05) <= missing(150, 0.05)
