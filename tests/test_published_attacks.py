"""Published attacks: objectives by hand, official descents written out plainly, and what correction is worth."""

from __future__ import annotations

import itertools
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
from torch.nn import functional as F

from attacks import registry
from attacks.atex import Atex
from attacks.base import Context
from attacks.random_sign import RandomSign
from attacks.region import Region, region
from attacks.target import Target
from attacks.variants import Published
from attrobust import load
from attrobust.spec import Spec, build, settings_of
from attrobust.types import Amount, ThreatModel, UsageError
from attrobust.views import softplus_view
from explainers.saliency import Saliency

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
    case: str, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """By the same number of steps, on the objective itself, and without losing an image."""
    x = real_images[0][:6]
    y = network(x).argmax(dim=1)
    context = make_context(network, Saliency(), x)
    corrected, paper = make(case, steps=30), make(case, steps=30, variant="paper", **PAPER.get(case, {}))
    score = corrected.objective(context, x, y)
    clean = score(context.maps(x, y))
    outputs = [attack(context, x, y) for attack in (corrected, paper)]
    ours, theirs = (score(context.maps(output.x, y)) for output in outputs)
    assert outputs[0].legal.all()
    assert (ours < clean).all()
    assert ours.mean() < theirs.mean()


@pytest.mark.parametrize("case", [*CORRECTED, "random-sign"])
@pytest.mark.parametrize("threat", [ThreatModel(eps=0), ThreatModel(norm="l2", eps=0.5), ThreatModel(eps=1.0)], ids=str)
def test_results_of_paper_forms_are_legal(
    case: str, threat: ThreatModel, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
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


def official_objective(case: str, clean: Tensor) -> Callable[[Tensor], Tensor]:
    """What Ghorbani et al. take the gradient of, of one map H×W."""
    height, width = clean.shape
    top = [int(i) for i in clean.flatten().argsort(descending=True)[:K]]
    if case == "lens":
        reach = [down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
        top = sorted({i + offset for i in top for offset in reach if 0 < i + offset < height * width})
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = [int((clean / clean.sum() * axis).sum()) for axis in (rows, columns)]

    def objective(maps: Tensor) -> Tensor:
        share = maps / maps.sum()
        if case == "mass-center":
            moved = [(share * axis).sum() for axis in (rows, columns)]
            return -sum((a - b) ** 2 for a, b in zip(moved, centre, strict=True))  # type: ignore[return-value]
        if case == "region":
            return -share[:14, :14].sum()
        return share.flatten()[top].sum()

    return objective


def official_measure(case: str, clean: Tensor, objective: Callable[[Tensor], Tensor]) -> Callable[[Tensor], float]:
    def measure(maps: Tensor) -> float:
        if case in ("mass-center", "region"):
            return float(objective(maps))
        tops = [set(one.flatten().argsort(descending=True)[:K].tolist()) for one in (clean, maps)]
        return len(tops[0] & tops[1]) / K

    return measure


def gradient_map(model: nn.Module, x: Tensor, y: int, *, graph: bool = False) -> Tensor:
    (gradient,) = torch.autograd.grad(model(x[None])[0, y], x, create_graph=graph)
    return gradient.abs().sum(dim=0)


@pytest.mark.parametrize("case", ["topk", "mass-center", "region", "lens"])
def test_the_paper_form_takes_ghorbanis_steps(
    case: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, images = load("digits/natural").double(), real_images[0][:3].double()
    labels = model(images).argmax(dim=1)
    # The ball is reached after four of the steps.
    context = make_context(model, Saliency(), images, threat=ThreatModel(eps=6 / 255, keep_prediction=False))
    attack = registry.get(case)(variant="paper", steps=8, step=1.5 / 255)  # type: ignore[call-arg]
    found = attack.run(context, images, labels)
    view = softplus_view(model, 1.0)
    for image, y, ours in zip(images, labels.tolist(), found, strict=True):
        clean = gradient_map(model, image.clone().requires_grad_(), y)
        objective = official_objective(case, clean)
        measure = official_measure(case, clean, objective)
        current, best, lowest = image, image, measure(clean)
        for _ in range(8):
            attached = current.clone().requires_grad_()
            (slope,) = torch.autograd.grad(objective(gradient_map(view, attached, y, graph=True)), attached)
            current = (image + (current - 1.5 / 255 * slope.sign() - image).clamp(-6 / 255, 6 / 255)).clamp(0, 1)
            if int(model(current[None]).argmax()) != y:
                continue
            now = measure(gradient_map(model, current.clone().requires_grad_(), y))
            if now < lowest:
                best, lowest = current, now
        assert not torch.equal(best, image)
        assert ((ours - best).abs() > 1e-9).sum() <= 3, "but for gradients within rounding of zero"


@pytest.mark.parametrize(("name", "beta"), [("ifia", 1.0), ("art", 50.0)])
def test_the_paper_form_takes_steps_on_the_path_of_integrated_gradients(
    name: str, beta: float, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, images, m, steps = load("digits/natural").double(), real_images[0][:2].double(), 6, 4
    labels = model(images).argmax(dim=1)
    context = make_context(model, Saliency(), images, threat=ThreatModel(eps=8 / 255))
    attack = registry.get(name)(variant="paper", steps=steps, step=3 / 255, points=m)  # type: ignore[call-arg]
    starts = attack.start(context, images)  # type: ignore[attr-defined]
    assert torch.equal(starts, images) == (name == "ifia")
    found = attack.run(context, images, labels)
    view = softplus_view(model, beta)

    def integrated(network: nn.Module, path: list[Tensor], factor: Tensor, y: int, *, graph: bool = False) -> Tensor:
        slopes = [torch.autograd.grad(network(p[None])[0, y], p, create_graph=graph)[0] for p in path]
        return (factor * sum(slopes) / m).abs().sum(dim=0)  # type: ignore[arg-type]

    def points(x: Tensor) -> list[Tensor]:
        return [(k / m * x).detach().requires_grad_() for k in range(1, m + 1)]

    for image, start, y, ours in zip(images, starts, labels.tolist(), found, strict=True):
        clean = integrated(model, points(image), image, y).numpy().ravel()
        # The top k are those of the network itself.
        mask = np.zeros_like(clean)
        mask[np.argsort(-clean)[:K]] = 1

        def tau(x: Tensor, y: int = y, clean: Array = clean, mask: Array = mask) -> float:
            now = integrated(model, points(x), x, y).numpy().ravel()
            # The official mask leaves zeros, which all tie: the order of points is that of tau on the top k alone.
            return float(kendalltau(*((clean * mask, now * mask) if name == "art" else (clean, now))).statistic)

        current, best, lowest = start, image, 1.0
        for iteration in range(steps + 1):
            if int(model(current[None]).argmax()) == y and tau(current) < lowest:
                best, lowest = current, tau(current)
            if iteration == steps:
                break
            path = points(current)
            maps = integrated(view, path, current, y, graph=True).flatten()
            loss = (maps / maps.sum())[torch.from_numpy(mask) > 0].sum()
            slopes = torch.autograd.grad(loss, path)
            slope = sum(k / m * part for k, part in enumerate(slopes, start=1))
            assert isinstance(slope, Tensor)
            current = (image + (current - 3 / 255 * slope.sign() - image).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
        assert not torch.equal(best, image)
        assert ((ours - best).abs() > 1e-9).sum() <= 3, "but for gradients within rounding of zero"


def test_the_paper_form_takes_the_steps_of_atex(real_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> None:
    model, images, eps = load("digits/aga").double(), real_images[0][:4].double(), 0.08
    labels = model(images).argmax(dim=1)
    context = make_context(model, Saliency(), images, threat=ThreatModel(eps=eps))
    points = list(Atex(variant="paper", steps=12).trajectory(context, images, labels))
    raised, rejected = 0, 0
    for row, (image, y) in enumerate(zip(images, labels, strict=True)):
        current = image
        for iteration in range(12):
            attached = current.clone().requires_grad_()
            loss = F.cross_entropy(model(attached[None]), y[None])
            (gradient,) = torch.autograd.grad(loss, attached, create_graph=True)
            (slope,) = torch.autograd.grad(gradient.abs().flatten().sort().values[-50:].sum(), attached)
            delta = current - 0.02 * slope / slope.abs().max() - image
            raised += int((delta < -eps).sum())
            delta[delta.abs() > eps] = eps
            if int(model((image + delta)[None]).argmax()) == int(y):
                current = image + delta
            else:
                rejected += 1
            assert (points[iteration + 1][row] - current).abs().max() < 1e-9
    assert raised > 0, "entries below -eps are sent to +eps"


def test_a_step_of_atex_that_changes_the_prediction_is_not_made(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/aga").double(), real_images[0].double()
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x, threat=ThreatModel(eps=1.0))
    points = list(Atex(variant="paper", steps=10, step=1.0).trajectory(context, x, y))
    assert all(torch.equal(model(point).argmax(dim=1), y) for point in points)
    stuck = [int((a == b).flatten(1).all(dim=1).sum()) for a, b in itertools.pairwise(points)]
    assert stuck[-1] > 0
    assert stuck == sorted(stuck), "all further steps are the same one"


def test_random_signs_are_at_the_corners_of_the_ball(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = torch.full_like(real_images[0], 0.5)
    for candidate in RandomSign(draws=3).candidates(make_context(network, Saliency(), x), x):
        delta = candidate - x
        assert torch.allclose(delta.abs(), torch.full_like(x, EPS), atol=1e-6)
        assert 0.4 < float((delta > 0).double().mean()) < 0.6


def test_the_official_random_signs_walk_and_keep_the_smallest_intersection(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:4]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x, threat=ThreatModel(eps=2 / 255, keep_prediction=False))
    attack = RandomSign(variant="paper", draws=12, step=1 / 255)
    walk = [x, *attack.candidates(context, x)]
    inner = (x > 3 / 255) & (x < 1 - 3 / 255)
    assert torch.allclose((walk[1] - x).abs()[inner], torch.tensor(1 / 255), atol=1e-6)
    assert all(context.threat.contains(x, point).all() for point in walk)
    assert max(float((point - x).abs().max()) for point in walk) > 1.5 / 255
    tops = torch.stack([context.maps(point, y).flatten(1).topk(K, dim=1).indices for point in walk])
    kept = torch.stack([model(point).argmax(dim=1) == y for point in walk])
    found = context.maps(attack.run(context, x, y), y).flatten(1).topk(K, dim=1).indices
    for image in range(len(x)):
        shared = [len(set(tops[0, image].tolist()) & set(top[image].tolist())) for top in tops]
        lowest = min(size for size, legal in zip(shared, kept[:, image].tolist(), strict=True) if legal)
        assert len(set(tops[0, image].tolist()) & set(found[image].tolist())) == lowest


def test_the_official_codes_that_keep_no_ball_are_projected_and_those_that_flip_are_found_out(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:4]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    attack = Target(variant="paper", steps=60, lr=1e-2)
    raw, output = attack.run(context, x, y), attack(context, x, y)
    assert float((raw - x).abs().max()) > 2 * EPS
    assert context.threat.contains(x, output.x).all()
    flipped = model(context.threat.project(x, raw)).argmax(dim=1) != y
    assert torch.equal(output.legal, ~flipped)


def test_a_relu_network_gives_the_official_target_attack_without_growth_nothing_to_follow(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural").double(), real_images[0][:3].double()
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    own, grown = (Target(variant="paper", steps=3, view=view) for view in ("own", "auto"))  # type: ignore[arg-type]
    moved = [float((attack.run(context, x, y) - x).abs().max()) for attack in (own, grown)]
    # What moves it is the rounding of probabilities, of which Adam makes steps.
    assert moved[0] < 1e-3 * moved[1]


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
    assert typed("r2et:variant=paper")["view"] == "own"


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
