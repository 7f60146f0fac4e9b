"""Published attacks: objectives by hand, official descents written out plainly, and what correction is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.stats import kendalltau
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks import registry
from attrobust.attacks.base import Context
from attrobust.attacks.published.variants import Published
from attrobust.attacks.random_sign import RandomSign
from attrobust.attacks.region import Region, region
from attrobust.explainers.saliency import Saliency
from attrobust.naming.spec import Spec, build, settings_of
from attrobust.threat import ThreatModel
from attrobust.types import Amount, UsageError

ContextMaker = Callable[..., Context]
Array = NDArray[np.float64]
K, EPS = 78, 16 / 255
"""Ten per cent of a digit's pixels; the radius of the ball."""
CORRECTED: dict[str, dict[str, Any]] = {
    "topk": {},
    "mass-center": {},
    "region": {},
    "lens": {"window": 5},
    "ifia": {},
    "art": {},
    "art alignment": {"loss": "alignment"},
    "target": {},
    "frame": {},
    "r2et": {},
    "r2et mse": {"loss": "mse"},
    "atex": {},
}
PAPER: dict[str, dict[str, Any]] = {"ifia": {"points": 8}, "art": {"points": 8}, "target": {"lr": 2e-3}}
"""Settings that let the official codes get somewhere in few and quick iterations."""


def make(case: str, **settings: object) -> Published:
    """The attack of a case of ``CORRECTED``, with further settings."""
    attack = registry.get(case.partition(" ")[0])(**(CORRECTED[case] | settings))  # type: ignore[arg-type]
    assert isinstance(attack, Published)
    return attack


def normalised(values: Array) -> Array:
    return values / np.abs(values).sum()


def by_hand(case: str, a: Array, b: Array, other: Array, image: Array) -> float:
    """The objective of the attacked map b, given the clean map a, another image's and the normalised image, H×W."""
    order = np.argsort(-a.ravel())
    top = np.zeros(a.size, bool)
    top[order[:K]] = True
    top = top.reshape(a.shape)
    b1 = normalised(b)
    match case:
        case "topk":
            return float(b1[top].sum())
        case "mass-center":
            shift = [(b1 * axis).sum() - (normalised(a) * axis).sum() for axis in np.indices(a.shape)]
            return -float(np.square(shift).sum())
        case "region":
            return -float(b1[:14, :14].sum())
        case "lens":
            return float(b1[binary_dilation(top, np.ones((5, 5)))].sum())
        case "ifia":
            return float(kendalltau(a.ravel(), b.ravel()).statistic)
        case "art":
            return float(kendalltau(a[top], b[top]).statistic)
        case "art alignment":
            return float(b[top] @ image[top] / np.linalg.norm(b[top]) / np.linalg.norm(image[top]))
        case "target":
            return float(np.square(b1 - normalised(other)).sum())
        case "frame":
            goal = np.pad(np.zeros((18, 18)), 5, constant_values=1)
            return float(np.square(b / b.max() - goal).sum())
        case "r2et":
            pairs = [(i, K - 1) for i in range(K - 1)] + [(K - 1, K + i) for i in range(K)]
            ranked = b1.ravel()[order]
            return float(sum(ranked[i] - ranked[j] for i, j in pairs))
        case "r2et mse":
            return -float(np.linalg.norm(b1 - normalised(a)))
        case _:
            return float(np.sort(b1.ravel())[-50:].sum())


@pytest.mark.parametrize("case", CORRECTED)
def test_objectives_are_those_written_out_by_hand(
    case: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/aga").double(), real_images[0][:3].double()
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    moved = context.threat.scatter(x, context.streams("test").uniform(x))
    found = make(case).objective(context, x, y)(context.maps(moved, y))
    maps, attacked = context.maps(x, y).numpy(), context.maps(moved, y).numpy()
    mean, std = model[0].mean, model[0].std
    images = ((x - mean) / std).abs().sum(dim=1).numpy()
    others = context.maps(context.partners, model(context.partners).argmax(dim=1)).numpy()
    wanted = [by_hand(case, *parts) for parts in zip(maps, attacked, others, images, strict=True)]
    assert np.allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CORRECTED)
def test_correction_makes_every_attack_stronger(
    case: str, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """By the same number of steps, on the objective itself, and without losing an image."""
    x = coarse_images[0][:6]
    y = coarse_network(x).argmax(dim=1)
    context = make_context(coarse_network, Saliency(), x)
    corrected, paper = make(case, steps=12), make(case, steps=12, variant="paper", **PAPER.get(case, {}))
    score = corrected.objective(context, x, y)
    clean = score(context.maps(x, y))
    outputs = [attack(context, x, y) for attack in (corrected, paper)]
    ours, theirs = (score(context.maps(output.x, y)) for output in outputs)
    assert outputs[0].feasible.all()
    assert (ours < clean).all()
    assert ours.mean() < theirs.mean()


@pytest.mark.parametrize("case", [*CORRECTED, "random-sign"])
@pytest.mark.parametrize("threat", [ThreatModel(eps=0), ThreatModel(norm="l2", eps=0.5), ThreatModel(eps=1.0)], ids=str)
def test_results_of_paper_forms_are_feasible(
    case: str,
    threat: ThreatModel,
    network: nn.Module,
    real_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
) -> None:
    x = real_images[0][:4].clone()
    x[0], x[1] = 0.0, 1.0
    y = network(x).argmax(dim=1)
    few = {"draws": 3} if case == "random-sign" else {"steps": 3} | CORRECTED[case] | PAPER.get(case, {})
    attack = registry.get(case.partition(" ")[0])(variant="paper", **few)  # type: ignore[call-arg]
    output = attack(make_context(network, Saliency(), x, threat=threat), x, y)
    assert threat.contains(x, output.x).all()
    assert torch.equal(network(output.x).argmax(dim=1), y)
    assert torch.equal(output.x, x) == (threat.eps == 0)


@pytest.mark.parametrize("case", [case for case in CORRECTED if case != "frame"])
def test_paper_forms_attack_every_image_alone(
    case: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/aga").double(), real_images[0][:3].double()
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    attack = make(case, variant="paper", steps=2, **PAPER.get(case, {}))
    alone = attack(context.take([1]), x[1:2], y[1:2]).x
    assert ((attack(context, x, y).x[1:2] - alone).abs() > 1e-9).sum() <= 3, "but for gradients within rounding of zero"


def test_random_signs_are_at_the_corners_of_the_ball(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = torch.full_like(real_images[0], 0.5)
    for candidate in RandomSign(draws=3).candidates(make_context(network, Saliency(), x), x):
        delta = candidate - x
        assert torch.allclose(delta.abs(), torch.full_like(x, EPS), atol=1e-6)
        assert 0.4 < float((delta > 0).double().mean()) < 0.6


def test_a_region_is_where_it_is_named() -> None:
    side = Amount(3, percent=False)
    corners = {
        place: region(7, 9, place, side).nonzero().float().mean(dim=0).tolist()
        for place in ("top-left", "top-right", "bottom-left", "bottom-right", "center")
    }  # type: ignore[arg-type]
    assert corners == {
        "top-left": [1, 1],
        "top-right": [1, 7],
        "bottom-left": [5, 1],
        "bottom-right": [5, 7],
        "center": [3, 4],
    }
    with pytest.raises(ValueError, match="side=100% leaves nothing outside the region"):
        Region(side=Amount(100, percent=True)).check_size(28, 28)


def test_each_variant_has_defaults_of_its_own_and_what_is_typed_stays() -> None:
    def typed(text: str) -> dict[str, Any]:
        spec = Spec.parse(text)
        return settings_of(build(registry.get(spec.name), spec))

    assert typed("topk")["steps"] == 50
    assert typed("topk:variant=paper")["steps"] == 300
    assert typed("topk:variant=paper")["beta"] == 1
    assert typed("topk:variant=paper,steps=50")["steps"] == 50
    assert typed("art:variant=paper")["steps"] == 50
    assert typed("art:variant=paper,loss=alignment")["steps"] == 3
    assert typed("art:variant=paper,loss=alignment,steps=7")["steps"] == 7
    assert typed("r2et:variant=paper")["differentiate"] == "own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topk:step=1/255", "step has no effect with variant=corrected"),
        ("topk:variant=paper,restarts=2", "restarts has no effect with variant=paper"),
        ("ifia:points=8", "points has no effect with variant=corrected"),
        ("frame:gamma=.1", "gamma has no effect with variant=corrected"),
        ("target:lr=.1", "lr has no effect with variant=corrected"),
        ("r2et:variant=paper,beta=3", "beta has no effect with variant=paper"),
        ("art:variant=paper,loss=alignment,points=8", "points has no effect with variant=paper"),
        ("random-sign:k=5", "k has no effect with variant=corrected"),
        ("random-sign:variant=paper,step=0", "step must be above 0, not 0"),
        ("lens:window=4", "window=4 must be odd and at least 1"),
        ("target:variant=paper,lr=0", "lr must be above 0, not 0"),
        ("atex:variant=paper,step=0", "step must be above 0, not 0"),
        ("ifia:variant=paper,points=0", "points=0 must be at least 1"),
    ],
)
def test_settings_without_effect_or_out_of_range_are_refused(text: str, message: str) -> None:
    spec = Spec.parse(text)
    with pytest.raises(UsageError, match=message):
        build(registry.get(spec.name), spec)


def test_what_every_attack_has_been_typed_as_says_it_all() -> None:
    """A row's settings make the same attack again."""
    for case, settings in CORRECTED.items():
        for variant in ("corrected", "paper"):
            attack = make(case, variant=variant)
            typed = {item.name: getattr(attack, item.name) for item in fields(attack)}
            assert type(attack)(**typed) == attack
            assert all(getattr(attack, key) == value for key, value in settings.items())
