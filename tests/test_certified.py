"""Certified metrics: the bound where the truth is known, and against whatever turns smoothed gradients on digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import MakeCase, maker
from scipy.stats import norm
from torch import Tensor, nn

from attrobust import load
from attrobust.certificates import gaussian_cosine, mean_at_least
from attrobust.lengths import PIXELS, unit
from attrobust.ranks import top_mask
from attrobust.types import Amount
from explainers.gradient import input_gradient
from metrics.case import Case
from metrics.certified import CertifiedCosine, CertifiedTopK

STDEV = 0.25
FOUR = Amount(4, percent=False)


class Wedge(nn.Module):
    """The logit ``|Σx - edge|``: its unit gradient is ``d`` above a half-space's edge and ``-d`` below."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        value = (x.flatten(1).sum(dim=1) - self.edge).abs()
        return torch.stack([value, torch.zeros_like(value)], dim=1)


def case_of(model: nn.Module, x: Tensor, target: Tensor) -> Case:
    return Case(
        model=model,
        clean=x,
        attacked=x,
        target=target,
        explain=lambda images, _: images,
        reduce=lambda raw: raw.sum(dim=1),
        partners=x,
        seed=0,
        ids=range(len(x)),
    )


def test_half_spaces_are_the_worst_case_and_certified_nearly_exactly() -> None:
    """The smoothed map is ``(2 Φ(t / s) - 1) d``, t the distance to the edge; within ρ the edge comes closer by ρ."""
    draws = np.random.default_rng(0).normal(size=(1, 10**6))
    distance, radius = 0.3, 0.1
    cosines = np.sign(distance + STDEV * draws)
    truth = 2 * norm.cdf((distance - radius) / STDEV) - 1
    bound = gaussian_cosine(cosines, stdev=STDEV, radius=radius, confidence=0.99)
    assert truth - 0.01 < bound[0] <= truth
    assert gaussian_cosine(cosines, stdev=STDEV, radius=0.31, confidence=0.99)[0] == -1, "beyond the edge"


@pytest.mark.parametrize("distance", [0.2, 0.5])
def test_few_draws_promise_no_more_than_is_true(distance: float) -> None:
    draws = np.random.default_rng(0).normal(size=(2000, 300))
    bound = gaussian_cosine(np.sign(distance + STDEV * draws), stdev=STDEV, radius=0.05, confidence=0.9)
    truth = 2 * norm.cdf((distance - 0.05) / STDEV) - 1
    assert (bound > truth).mean() <= 0.1
    assert (bound > 0).mean() > 0.9, "a certificate of nothing would pass this test"


def test_the_mean_of_draws_that_vary_little_is_known_closely() -> None:
    draws = np.random.default_rng(0).uniform(0.45, 0.55, size=(500, 1000))
    bound = mean_at_least(draws, 0.99)
    assert (bound <= 0.5).all()
    assert (bound > 0.5 - 0.04).all(), "Hoeffding's slack is 0.1"


def test_the_metric_is_the_bound_of_the_models_own_draws() -> None:
    x = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    distance, radius = 0.5, 0.1
    case = case_of(Wedge(8 - distance * 4), x, torch.tensor([0]))
    found = CertifiedCosine(stdev=STDEV, radius=radius, samples=5000).score(case)
    truth = 2 * norm.cdf((distance - radius) / STDEV) - 1
    assert truth - 0.1 < found.item() <= truth
    assert CertifiedCosine(stdev=STDEV, radius=0.6, samples=500).score(case).item() == -1


def test_a_linear_logits_map_is_certified_at_any_radius_but_the_draws() -> None:
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    case = case_of(model, x, torch.tensor([0, 2]))
    small = CertifiedCosine(samples=1000, radius=0.0).score(case)
    assert (small > 0.96).all()
    assert (small <= 1).all()
    quarter = CertifiedTopK(samples=1000, radius=0.1, k=FOUR, keep=FOUR).score(case)
    assert (quarter == 1).all(), "the same four pixels in every draw"
    assert (CertifiedTopK(samples=1000, radius=5.0, k=FOUR, keep=FOUR).score(case) == 0).all()


@pytest.fixture(scope="module", params=["digits/pgd-at", "digits/aga"])
def case(request: pytest.FixtureRequest, real_images: tuple[Tensor, Tensor]) -> Case:
    make: MakeCase = maker(load(request.param), real_images[0])
    return make(slice(0, 2))


def gradients(case: Case, x: Tensor, noise: Tensor) -> Tensor:
    """At n noisy copies of every image, n×B×C×H×W."""
    return torch.stack([input_gradient(case.model, x + STDEV * z, case.target, create_graph=False) for z in noise])


def fresh(case: Case, count: int, seed: int) -> Tensor:
    return torch.randn((count, *case.clean.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def farthest(case: Case, radius: float, direction: Tensor) -> list[Tensor]:
    """Points of the sphere: where the logit falls, against Stein's gradient of ``⟨û, h⟩``, and at random."""
    noise = fresh(case, 150, 1)
    products = (gradients_unit(case, case.clean, noise) * direction).sum(dim=(2, 3, 4), keepdim=True)
    stein = ((products - products.mean(dim=0)) * noise).mean(dim=0)
    logit = input_gradient(case.model, case.clean, case.target, create_graph=False)
    ways = [-logit, logit, -stein, *fresh(case, 1, 2)]
    return [case.clean + radius * unit(way, PIXELS) for way in ways]


def gradients_unit(case: Case, x: Tensor, noise: Tensor) -> Tensor:
    return unit(gradients(case, x, noise).flatten(0, 1), PIXELS).view_as(noise)


def test_no_image_found_within_the_radius_turns_the_smoothed_gradient_farther(case: Case) -> None:
    radius, samples = 0.1, 500
    found = CertifiedCosine(stdev=STDEV, radius=radius, samples=samples).score(case)
    assert (found > 0).all(), "a certificate of nothing would pass this test"
    streams = case.streams("certified-cosine direction")
    own = torch.stack([streams.normal(case.clean) for _ in range(samples // 5)])
    direction = unit(gradients_unit(case, case.clean, own).mean(dim=0), PIXELS)
    for x in farthest(case, radius, direction):
        units = gradients_unit(case, x, fresh(case, 150, 3))
        products = (units * direction).sum(dim=(2, 3, 4))
        error = 4 * products.std(dim=0) / 150**0.5
        # What is bounded is the product; the cosine is larger.
        assert (products.mean(dim=0) + error >= found).all()
        assert (torch.cosine_similarity(units.mean(dim=0).flatten(1), direction.flatten(1)) >= found).all()


def test_no_image_found_within_the_radius_has_fewer_of_the_most_frequent_pixels(case: Case) -> None:
    radius, samples, k = 0.05, 500, 78
    metric = CertifiedTopK(stdev=STDEV, radius=radius, samples=samples)
    found = metric.score(case)
    assert (found > 0.05).all(), "a certificate of nothing would pass this test"

    def shares(x: Tensor, noise: Tensor) -> Tensor:
        size = gradients(case, x, noise).abs().sum(dim=2).flatten(2)
        return top_mask(size.flatten(0, 1), k).view_as(size).double().mean(dim=0)

    streams = case.streams("certified-topk")
    own = torch.stack([streams.normal(case.clean) for _ in range(samples)])
    before = top_mask(shares(case.clean, own), k)
    for x in farthest(case, radius, unit(case.clean, PIXELS)):
        after = top_mask(shares(x, fresh(case, 150, 3)), k)
        assert ((before & after).sum(dim=1) / k >= found).all()


def test_a_wider_radius_certifies_less(case: Case) -> None:
    for kind in (CertifiedCosine, CertifiedTopK):
        near, far = (kind(radius=radius, samples=100).score(case) for radius in (0.02, 0.1))
        assert (far < near).all()


def test_headers_say_the_radius() -> None:
    assert CertifiedCosine(radius=0.2).title == "certified cosine, l2 0.2"
    assert CertifiedTopK(k=Amount(20, percent=True)).title == "certified top-20%, l2 0.1 (%)"


@pytest.mark.parametrize("settings", [{"stdev": 0.0}, {"radius": -0.1}, {"samples": 5}, {"confidence": 1.0}])
@pytest.mark.parametrize("kind", [CertifiedCosine, CertifiedTopK])
def test_settings_that_make_no_sense_are_refused(kind: type[CertifiedCosine], settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)
