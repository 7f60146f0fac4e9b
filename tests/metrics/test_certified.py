"""Certified columns: bounds that hold where the truth is known, that no attack found breaks, and that say something."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.benchmark.data.mnist import FashionMnist
from attrobust.maps.concentration import mean_at_least
from attrobust.maps.lengths import PIXELS, unit
from attrobust.maps.ranks import top_mask
from attrobust.metrics import registry
from attrobust.metrics.certified import certified
from attrobust.metrics.certified.certified import CertifiedCosine, CertifiedTopK
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.derivatives import gradient
from attrobust.networks.smoothed import is_smooth
from attrobust.threat import ThreatModel
from attrobust.types import Amount

from helpers.cases import case_of


class Bowl(nn.Module):
    """Logits ``(|x|² / 2, 0)``: the gradient is the image itself, and smoothing does not turn it."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1).square().sum(dim=1) / 2
        return torch.stack([value, torch.zeros_like(value)], dim=1)


class Wedge(nn.Module):
    """The logit ``|Σ x - edge|``: one unit gradient on one side of a plane, its opposite on the other."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        value = (x.flatten(1).sum(dim=1) - self.edge).abs()
        return torch.stack([value, torch.zeros_like(value)], dim=1)


class ClaimError(nn.Module):
    """A network whose gradient is not a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2] * float("nan")


def test_a_direction_that_only_ever_flips_is_certain_up_to_the_flip() -> None:
    """The smoothed gradient of a wedge is along one line: its cosine is 1 on this side of the plane, and -1 beyond."""
    x = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    case = case_of(Wedge(edge=6), x, torch.tensor([0]))
    assert 0.97 < CertifiedCosine(radius=0.3, samples=2000).score(case).item() <= 1
    assert CertifiedCosine(radius=0.6, samples=500).score(case).item() == -1, "the plane is 0.5 away"


def direction_of(metric: CertifiedCosine, case: Case) -> Tensor:
    """The direction a certificate is about."""
    streams, total = case.streams("certified gradients, held out"), torch.zeros_like(case.clean)
    for _ in range(metric.samples // 5):
        noisy = case.clean + metric.stdev * streams.normal(case.clean)
        total += unit(gradient(case.model, noisy, case.target, "logit"), PIXELS)
    return unit(total, PIXELS)


@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_the_cosine_bound_holds_of_a_network_whose_smoothed_gradient_is_known(radius: float) -> None:
    x = torch.rand(60, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    case = case_of(Bowl(), x, torch.zeros(60, dtype=torch.int64))
    metric = CertifiedCosine(radius=radius, samples=200)
    found = metric.score(case)
    off = (direction_of(metric, case) * unit(x, PIXELS)).sum(dim=PIXELS).clamp(-1, 1).acos()
    farthest = off + (radius / x.flatten(1).norm(dim=1)).clamp(max=1).asin()
    assert (found <= farthest.cos()).all()
    assert (found > 0).double().mean() > 0.7, "a certificate of nothing would pass this test"


def test_a_network_without_curvature_is_certain_up_to_the_draws() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    case = case_of(model, torch.rand(2, 1, 4, 4).double(), torch.tensor([0, 2]))
    assert (CertifiedCosine(samples=1000, radius=0.1).score(case) > 0.998).all()
    for k, share in ((3, 1.0), (6, 0.5), (2, 0.5), (1, 0.0)):
        metric = CertifiedTopK(k=Amount(k, percent=False), keep=Amount(3, percent=False), samples=500)
        assert metric.score(case).tolist() == [share, share], "three pixels are always kept, and which is first is open"


def test_nothing_is_certain_where_the_smoothed_gradient_has_no_direction() -> None:
    """Draws that had also made the direction would agree with it."""
    x = torch.zeros(4, 1, 28, 28).double()
    case = case_of(Bowl(), x, torch.zeros(4, dtype=torch.int64))
    assert CertifiedCosine(radius=0.0, confidence=0.5).score(case).tolist() == [-1.0] * 4


def test_nothing_is_certain_of_gradients_that_are_not_finite() -> None:
    case = case_of(ClaimError(), torch.rand(2, 1, 4, 4).double(), torch.tensor([0, 1]))
    assert CertifiedCosine(samples=20).score(case).tolist() == [-1.0, -1.0]
    assert CertifiedTopK(samples=20).score(case).tolist() == [0.0, 0.0]


@pytest.fixture(scope="module")
def digits_case(coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor]) -> Case:
    model, x = copy.deepcopy(coarse_network).double(), coarse_images[0][:2].double()
    return case_of(model, x, model(x).argmax(dim=1))


def fresh_units(case: Case, x: Tensor, stdev: float, count: int, seed: int) -> Tensor:
    """Unit gradients at draws that no metric has seen, count×B×C×H×W."""
    generator = torch.Generator().manual_seed(seed)
    draws = (x + stdev * torch.randn(x.shape, generator=generator, dtype=torch.float64) for _ in range(count))
    return torch.stack([unit(gradient(case.model, draw, case.target, "logit"), PIXELS) for draw in draws])


def downhill(case: Case, x: Tensor, direction: Tensor, stdev: float, seed: int) -> Tensor:
    """Where ``⟨direction, h⟩`` falls: through the network where it is smooth, else Stein's estimate."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(x)
    for _ in range(24):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        for sign in (1, -1):
            if is_smooth(case.model):
                attached = (x + sign * stdev * noise).requires_grad_()
                logit = case.model(attached).gather(1, case.target[:, None]).sum()
                (first,) = torch.autograd.grad(logit, attached, create_graph=True)
                total += torch.autograd.grad((unit(first, PIXELS) * direction).sum(), attached)[0]
            else:
                found = unit(gradient(case.model, x + sign * stdev * noise, case.target, "logit"), PIXELS)
                total += sign * noise * (found * direction).sum(dim=PIXELS, keepdim=True)
    return -total


def attacked(case: Case, direction: Tensor, stdev: float, radius: float) -> list[Tensor]:
    """Images within the radius: where the smoothed gradient turns most, where the logit falls, and a random one."""
    ball, x = ThreatModel(norm="l2", eps=radius), case.clean.clone()
    for step in range(4):
        x = x + radius / 2 * ball.direction(downhill(case, x, direction, stdev, seed=100 + step))
        offset = (x - case.clean).flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        x = case.clean + (x - case.clean) * (radius / offset).clamp(max=1)
    falling = -gradient(case.model, case.clean, case.target, "logit")
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return [x, *(case.clean + radius * ball.direction(move) for move in (falling, noise))]


@pytest.mark.parametrize(("radius", "least"), [(0.1, 0.5), (0.2, 0.25)])
def test_no_attack_found_breaks_the_cosine_bound(digits_case: Case, radius: float, least: float) -> None:
    metric = CertifiedCosine(samples=300, radius=radius)
    bound, direction = metric.score(digits_case), direction_of(metric, digits_case)
    assert (bound > least).all(), "a certificate of nothing would pass this test"
    for x in attacked(digits_case, direction, metric.stdev, radius):
        assert ((x - digits_case.clean).flatten(1).norm(dim=1) <= radius + 1e-9).all()
        units = fresh_units(digits_case, x, metric.stdev, 150, seed=5)
        error = 4 * (units * direction).sum(dim=(2, 3, 4)).std(dim=0) / math.sqrt(150)
        cosine = F.cosine_similarity(units.mean(dim=0).flatten(1), direction.flatten(1))
        assert (cosine - error >= bound).all()


def test_no_attack_found_breaks_the_top_k_bound(digits_case: Case) -> None:
    metric = CertifiedTopK(samples=300, k=Amount(20, percent=True))
    k, keep = metric.k.of(256), metric.keep.of(256)

    def first(units: Tensor) -> Tensor:
        return top_mask(sum(top_mask(u.abs().sum(dim=1).flatten(1), keep).double() for u in units), k)

    streams, x = digits_case.streams("certified gradients, held out"), digits_case.clean
    noisy = [x + metric.stdev * streams.normal(x) for _ in range(60)]
    sizes = [gradient(digits_case.model, draw, digits_case.target, "logit").abs().sum(dim=1) for draw in noisy]
    counts = sum(top_mask(size.flatten(1), keep).double() for size in sizes)
    places = torch.from_numpy(np.argsort(-counts.numpy(), axis=1, kind="stable")[:, :k])
    chosen = torch.zeros_like(counts, dtype=torch.bool).scatter(1, places, True)
    bound = metric.score(digits_case)
    assert (bound > 0.1).all(), "a certificate of nothing would pass this test"
    for moved in attacked(digits_case, direction_of(CertifiedCosine(samples=100), digits_case), 0.25, metric.radius):
        still = first(fresh_units(digits_case, moved, metric.stdev, 150, seed=5))
        assert ((chosen & still).sum(dim=1) / k >= bound).all()


@pytest.mark.parametrize("name", ["digits/aga", "digits/lcnn", "digits/pgd-at"])
def test_the_defaults_say_something_of_shipped_robust_networks(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    model = load(name).double()
    x = real_images[0][2:4].double()
    case = case_of(model, x, model(x).argmax(dim=1))
    # A quarter of the draws of the defaults: more of them only raise what is certain.
    assert (CertifiedCosine(samples=250).score(case) > 0.5).all()
    assert (CertifiedTopK(samples=250).score(case) > 0.05).all()


def test_a_larger_radius_certifies_less_until_nothing_is_left(digits_case: Case) -> None:
    for kind, nothing in ((CertifiedCosine, -1.0), (CertifiedTopK, 0.0)):
        scores = [kind(samples=100, radius=radius).score(digits_case) for radius in (0.0, 0.1, 0.2, 2.0)]
        assert all((wide <= narrow).all() for narrow, wide in itertools.pairwise(scores))
        assert (scores[0] > scores[1]).all()
        assert scores[-1].tolist() == [nothing, nothing]


def test_a_linf_ball_is_certified_by_the_l2_ball_around_it(digits_case: Case) -> None:
    numbers = digits_case.clean[0].numel()
    for kind in (CertifiedCosine, CertifiedTopK):
        linf = kind(samples=60, stdev=0.5, radius=1 / 255, norm="linf").score(digits_case)
        assert linf.tolist() == kind(samples=60, stdev=0.5, radius=math.sqrt(numbers) / 255).score(digits_case).tolist()
    with pytest.raises(ValueError, match="write 8/255, not 8"):
        CertifiedCosine(radius=8, norm="linf")


def test_images_are_certified_in_parts_with_the_same_result(digits_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = CertifiedCosine(samples=50), CertifiedTopK(samples=50)
    together = [metric.score(digits_case).tolist() for metric in metrics]
    monkeypatch.setattr(certified, "CHUNK", 1)
    for metric, scores in zip(metrics, together, strict=True):
        assert metric.score(digits_case).tolist() == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize("name", ["fashion-mnist/natural", "fashion-mnist/pgd-at"])
def test_the_bound_reaches_much_farther_than_that_of_the_mean_cosine(name: str, fashion_root: Path) -> None:
    """The former bound, ``2 Φ(Φ⁻¹((1 + E⟨d, u⟩) / 2) - ρ/s) - 1``, at equal noise and draws."""
    x = FashionMnist().load(fashion_root).splits["test"].batch(range(2))[0].double()
    model = load(name).double()
    case = case_of(model, x, model(x).argmax(dim=1))
    metric = CertifiedCosine(samples=300, stdev=0.5, radius=2 / 255, norm="linf")
    direction = direction_of(metric, case)
    streams, cosines = case.streams("certified gradients, certified"), []
    for _ in range(240):
        noisy = x + metric.stdev * streams.normal(x)
        cosines.append((unit(gradient(model, noisy, case.target, "logit"), PIXELS) * direction).sum(dim=PIXELS))
    mean = mean_at_least(torch.stack(cosines, dim=1).numpy(), metric.confidence)
    former = 2 * norm.cdf(norm.ppf((1 + mean) / 2) - 2 / 255 * 28 / metric.stdev) - 1
    assert (metric.score(case).numpy() > np.maximum(former, 0) + 0.3).all()


def test_titles_say_what_is_certified_and_how_far() -> None:
    assert CertifiedCosine().title == "certified cosine, l2 0.1"
    assert CertifiedTopK(radius=0.25).title == "certified top-10%, l2 0.25 (%)"
    assert CertifiedTopK(radius=4 / 255, norm="linf").title == "certified top-10%, linf 4/255 (%)"


@pytest.mark.parametrize("name", ["certified-cosine", "certified-topk"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stdev": 0.0}, "stdev=0 must be at least 1e-06, in pixel units"),
        ({"radius": -0.1}, "radius=-0.1 must be 0 or more"),
        ({"confidence": 1.0}, "confidence=1 must be between 0 and 1"),
        ({"samples": 9}, "samples=9 must be at least 10"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.get(name)(**settings)


@pytest.mark.parametrize("setting", ["k", "keep"])
def test_more_pixels_than_a_map_has_are_refused(setting: str) -> None:
    metric = CertifiedTopK(**{setting: Amount(100, percent=False)})
    metric.check_size(10, 10)
    with pytest.raises(ValueError, match="more than the 99 pixels"):
        metric.check_size(9, 11)
