"""Certified bounds: the formulas against brute force, and the promises against attacks on real images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor, nn

from attrobust.explainers.shared.gradient import input_gradient
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.explainers.uniform_gradient import UniformGradient
from attrobust.maps.certificates import ball_variation, box_variation, certify_top_k
from attrobust.types import Amount


def test_pixel_bounds_at_radius_0_are_clopper_and_pearsons_intervals() -> None:
    counts = np.array([[[0.0, 3.0], [50.0, 100.0]]])
    found = certify_top_k(counts, 100, k=1, stdev=0.5, radius=0.0, confidence=0.95)
    for count, low, high in zip(counts.ravel(), found.lower.ravel(), found.upper.ravel(), strict=True):
        wanted = binomtest(int(count), 100).proportion_ci(1 - 0.05 / 4, method="exact")
        assert low == pytest.approx(wanted.low, abs=1e-12)
        assert high == pytest.approx(wanted.high, abs=1e-12)


def test_the_radius_moves_bounds_as_it_moves_a_half_space_under_gaussian_noise() -> None:
    """Half-spaces are the worst case, for which the bound is exact."""
    stdev, radius, p = 0.3, 0.2, 0.7
    counts = np.full((1, 1, 2), p * 10**9)
    found = certify_top_k(counts, 10**9, k=1, stdev=stdev, radius=radius, confidence=0.5)
    edge = -stdev * norm.ppf(p)
    assert found.lower[0, 0, 0] == pytest.approx(1 - norm.cdf((edge + radius) / stdev), abs=1e-4)
    assert found.upper[0, 0, 0] == pytest.approx(1 - norm.cdf((edge - radius) / stdev), abs=1e-4)


def test_the_certified_overlap_is_what_counting_by_hand_gives() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 1001, size=(5, 4, 4)).astype(float)
    for k, radius in ((1, 0.0), (4, 0.02), (4, 0.1), (15, 0.05), (16, 1.0)):
        found = certify_top_k(counts, 1000, k=k, stdev=0.25, radius=radius, confidence=0.99)
        for row in range(5):
            lower, upper, values = (array[row].ravel() for array in (found.lower, found.upper, counts))
            top = sorted(range(16), key=lambda i: (-values[i], i))[:k]
            safe = [i for i in top if sum(upper[j] >= lower[i] for j in range(16) if j != i) < k]
            assert found.overlap[row] == len(safe) / k


def test_variations_are_those_of_known_shapes() -> None:
    assert ball_variation(0.3, 1.0, 1) == pytest.approx(0.15)
    lens = 2 * math.acos(0.2) - 0.2 * math.sqrt(4 - 0.16)
    assert ball_variation(0.4, 1.0, 2) == pytest.approx(1 - lens / math.pi)
    assert ball_variation(2.0, 1.0, 3) == 1.0
    assert box_variation(0.5, 1.0, 2, "linf") == pytest.approx(1 - 0.75**2)
    assert box_variation(0.5, 1.0, 1, "l2") == pytest.approx(0.25)
    assert box_variation(1.1, 1.0, 3, "l2") == 1.0


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("dimension", [1, 2, 5, 50])
def test_no_shift_within_the_radius_moves_a_box_farther_than_claimed(radius: float, dimension: int) -> None:
    generator = np.random.default_rng(0)
    shifts = generator.normal(size=(2000, dimension)) ** generator.choice([1, 3, 5], size=(2000, 1))
    shifts = np.concatenate([shifts, np.eye(dimension), np.ones((1, dimension))])
    shifts *= radius / np.linalg.norm(shifts, axis=1, keepdims=True)
    worst = (1 - np.prod(1 - np.abs(shifts) / 2, axis=1)).max()
    claimed = box_variation(radius, 1.0, dimension, "l2")
    assert worst <= claimed + 1e-12
    assert claimed <= worst + 1e-12, "attained by equal shifts"


@pytest.fixture
def pair(coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x = coarse_images[0][:2]
    return x, coarse_network(x).argmax(dim=1)


def moved(network: nn.Module, x: Tensor, target: Tensor, radius: float) -> Tensor:
    """As far as the radius lets the logit fall."""
    direction = input_gradient(network, x, target, create_graph=False)
    return x - radius * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_certified_pixels_stay_among_the_most_frequent(coarse_network: nn.Module, pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    explainer = SparsifiedSmoothGrad(stdev=0.25)
    k, radius = Amount(20, percent=True), 0.05
    found = explainer.certify(coarse_network, x, y, radius=radius, k=k, samples=600, confidence=0.99)
    assert (found.overlap > 0.05).all(), "a certificate of nothing would pass this test"
    fresh = 0.25 * torch.randn((2000, 1, 16, 16), generator=torch.Generator().manual_seed(5))
    shares = explainer.frequencies(coarse_network, moved(coarse_network, x, y, radius), y, fresh).double().numpy()
    error = 4 * np.sqrt(0.25 / 2000)
    assert (shares >= found.lower - error).all()
    assert (shares <= found.upper + error).all()
    wider = explainer.certify(coarse_network, x, y, radius=4 * radius, k=k, samples=600, confidence=0.99)
    assert (wider.overlap <= found.overlap).all()


def test_certified_directions_turn_no_farther(coarse_network: nn.Module, pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    explainer = UniformGradient(radius=0.25, unit=True)
    found = explainer.certify(coarse_network, x, y, radius=0.002, samples=2000)
    assert (found.cosine > 0.05).all(), "a certificate of nothing would pass this test"
    attacked = moved(coarse_network, x, y, 0.002)
    noise = explainer.noise(x, 1000, torch.Generator().manual_seed(5))
    copies = (attacked + noise[:, None]).flatten(0, 1)
    gradients = input_gradient(coarse_network, copies, y.repeat(1000), create_graph=False).flatten(1).double()
    units = (gradients / gradients.norm(dim=1, keepdim=True)).view(1000, 2, -1).mean(dim=0)
    direction = torch.from_numpy(found.direction)
    cosine = torch.nn.functional.cosine_similarity(units, direction.flatten(1))
    assert (cosine.numpy() >= found.cosine).all()
    farther = explainer.certify(coarse_network, x, y, radius=0.004, samples=2000)
    assert (farther.cosine <= found.cosine).all()
    assert (explainer.certify(coarse_network, x, y, radius=1.0, samples=50).cosine == -1).all()


def test_the_noise_of_either_ball_is_uniform_in_it() -> None:
    x = torch.zeros(1, 1, 2, 2)
    cube = UniformGradient(radius=0.5).noise(x, 20000, torch.Generator().manual_seed(0)).flatten(1)
    assert cube.abs().max() <= 0.5
    assert torch.allclose(cube.var(dim=0), torch.full((4,), 0.25 / 3), rtol=0.05)
    ball = UniformGradient(radius=0.5, ball="l2").noise(x, 20000, torch.Generator().manual_seed(0)).flatten(1)
    radii = ball.norm(dim=1)
    assert radii.max() <= 0.5 + 1e-6
    # In four dimensions a share t^4 of the ball lies within t of its radius.
    for t in (0.3, 0.6, 0.9):
        assert (radii <= 0.5 * t).double().mean() == pytest.approx(t**4, abs=0.01)


def test_what_has_no_certificate_says_so(coarse_network: nn.Module, pair: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="unit=True"):
        UniformGradient().certify(coarse_network, *pair, radius=0.1)
    with pytest.raises(ValueError, match="norm=linf must be l2"):
        UniformGradient(ball="l2", unit=True).certify(coarse_network, *pair, radius=0.1, norm="linf")
    with pytest.raises(ValueError, match="stdev above 0"):
        SparsifiedSmoothGrad(stdev=0.0).certify(coarse_network, *pair, radius=0.1)
