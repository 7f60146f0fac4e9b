"""Scores that attacks lower are those that metrics measure, and their stand-ins become them as they are sharpened."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from attrobust import load
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import scores, stand_ins
from attrobust.explainers.saliency import Saliency
from attrobust.maps.ranks import top_mask
from attrobust.maps.reduction import reduce_map
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.normalized_l2 import NormalizedL2
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.metrics.similarity.topk import TopK
from attrobust.types import Amount

from helpers.order import tau_b

K = 40
Score = Callable[[Tensor], Objective]
SMOOTH: dict[str, Score] = {
    "cosine": scores.cosine,
    "l2": scores.normalized_l2,
    "l2 by sum": lambda clean: scores.normalized_l2(clean, "sum"),
    "l2 by max": lambda clean: scores.normalized_l2(clean, "max"),
    "pearson": scores.pearson,
    "ssim": scores.ssim,
    "spearman": lambda clean: stand_ins.soft_spearman(clean, 0.3),
    "topk": lambda clean: stand_ins.soft_topk(clean, K, 0.2),
}
EXACT: dict[str, Score] = {
    "spearman": scores.spearman,
    "kendall": scores.kendall,
    "topk": lambda clean: scores.topk(clean, K),
}
STAND_IN: dict[str, Callable[[Tensor, float], Objective]] = {
    "spearman": stand_ins.soft_spearman,
    "topk": lambda clean, temperature: stand_ins.soft_topk(clean, K, temperature),
}


@pytest.fixture(scope="module")
def pair(real_images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Saliency maps of four digits and of the same with noise, 16×16 pixels of each, float64."""
    model, x = load("digits/natural").double(), real_images[0][:4].double()
    y = model(x).argmax(dim=1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    a, b = (reduce_map(Saliency()(model, images, y), "abs-sum")[:, 6:22, 6:22] for images in (x, x + 0.1 * noise))
    return a, b


@pytest.fixture(scope="module", params=["real", "signed", "tied"])
def maps(request: pytest.FixtureRequest, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The same, with signs, and with most values equal to others."""
    a, b = pair
    if request.param == "signed":
        return a - a.mean(), b - b.mean()
    return ((6 * a).round(), (6 * b).round()) if request.param == "tied" else (a, b)


def test_scores_are_those_that_metrics_measure(maps: tuple[Tensor, Tensor]) -> None:
    a, b = maps
    pairs = [
        (scores.cosine(a)(b), Cosine()(a, b)),
        *((scores.normalized_l2(a, by)(b), -NormalizedL2(by=by)(a, b)) for by in ("l2", "sum", "max")),
        (scores.spearman(a)(b), Spearman()(a, b)),
        (scores.topk(a, K)(b), TopK(k=Amount(K, percent=False))(a, b)),
    ]
    for found, measured in pairs:
        assert (found - measured).abs().max() < 1e-9


def test_scores_are_those_of_numpy_and_scikit_image_and_of_their_definition(maps: tuple[Tensor, Tensor]) -> None:
    a, b = maps
    pearson, kendall, ssim = (score(a)(b) for score in (scores.pearson, scores.kendall, scores.ssim))
    for index, (one, other) in enumerate(zip(a.numpy(), b.numpy(), strict=True)):
        assert abs(pearson[index] - np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 1e-9
        assert abs(kendall[index] - tau_b(one, other)) < 1e-9
        wanted = structural_similarity(one, other, win_size=7, data_range=one.max() - one.min())
        assert abs(ssim[index] - wanted) < 1e-9


@pytest.mark.parametrize("name", STAND_IN)
def test_a_stand_in_becomes_the_score_as_its_temperature_falls(name: str, maps: tuple[Tensor, Tensor]) -> None:
    a, b = maps
    if name == "topk" and (b == b.flatten(1).topk(K).values[:, -1, None, None]).sum(dim=(1, 2)).max() > 1:
        pytest.skip("pixels that tie at the threshold share what is left of the k")
    wanted = EXACT[name](a)(b)
    away = [float((STAND_IN[name](a, temperature)(b) - wanted).abs().max()) for temperature in (1.0, 1e-2, 1e-9)]
    assert away[0] > away[1] >= away[2]
    assert away[2] < 1e-9


def test_pixels_that_tie_at_the_threshold_share_what_is_left_of_the_k() -> None:
    values = torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0]], dtype=torch.float64)
    wanted = torch.tensor([[1, 1 / 3, 1 / 3, 1 / 3, 0]], dtype=torch.float64)
    assert (stand_ins.soft_top_mask(values, 2, 1e-3) - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_those_of_finite_differences(name: str, pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    objective = SMOOTH[name](a)
    (gradient,) = torch.autograd.grad(objective(attached := b.clone().requires_grad_()).sum(), attached)
    for seed in range(5):
        way = torch.randn(b.shape, generator=torch.Generator().manual_seed(seed), dtype=b.dtype)
        step = 1e-6 * b.std()
        measured = (objective(b + step * way) - objective(b - step * way)) / (2 * step)
        along = (gradient * way).sum(dim=(1, 2))
        assert (measured - along).abs().max() < 1e-5 * along.abs().max()


@pytest.mark.parametrize("name", [name for name in SMOOTH if name != "ssim"])
@pytest.mark.parametrize("scale", [1e-18, 1e6])
def test_the_scale_of_a_map_does_not_matter(name: str, scale: float, pair: tuple[Tensor, Tensor]) -> None:
    a, b = (maps.float() for maps in pair)
    for score in [SMOOTH[name], *([EXACT[name]] if name in EXACT else [])]:
        wanted, found = score(a)(b), score(scale * a)(scale * b)
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("name", [*SMOOTH, *(f"exact {name}" for name in EXACT if name != "topk")])
def test_what_is_undefined_is_not_a_number(name: str, pair: tuple[Tensor, Tensor]) -> None:
    score = EXACT[name.removeprefix("exact ")] if name.startswith("exact") else SMOOTH[name]
    flat = torch.zeros_like(pair[1])
    value = score(pair[0])(flat)
    assert name == "ssim" or value.isnan().all()
    assert not score(pair[0])(pair[1]).isnan().any()


def test_a_soft_top_k_lets_go_of_the_inside_and_raises_the_outside(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    (gradient,) = torch.autograd.grad(
        stand_ins.soft_topk(a, K, 0.2)(attached := b.clone().requires_grad_()).sum(), attached
    )
    top = top_mask(a.flatten(1), K)
    down, up = (-gradient).flatten(1)[top], (-gradient).flatten(1)[~top]
    assert down.mean() < 0 < up.mean()
    assert (stand_ins.soft_top_mask(b.flatten(1), K, 0.3).sum(dim=1) - K).abs().max() < 1e-9


@pytest.mark.parametrize("pixels", [784, 3000])
def test_large_maps_are_compared_with_a_fixed_draw_of_pixels(pixels: int) -> None:
    some = stand_ins.references(pixels)
    assert torch.equal(some, stand_ins.references(pixels))
    assert len(some.unique()) == len(some) < pixels
    assert len(some) * pixels <= stand_ins.COMPARISONS
    generator = torch.Generator().manual_seed(pixels)
    a = torch.randn(2, 1, pixels, generator=generator, dtype=torch.float64)
    b = a + torch.randn(2, 1, pixels, generator=generator, dtype=torch.float64)
    rank = [scipy.stats.spearmanr(one, other).statistic for one, other in zip(a[:, 0], b[:, 0], strict=True)]
    assert np.abs(stand_ins.soft_spearman(a, 1e-6)(b).numpy() - rank).max() < 0.1
