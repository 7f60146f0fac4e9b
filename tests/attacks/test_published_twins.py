"""The official descents for which there are no numbers, written out plainly from their description, image by image."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.attacks import registry
from attrobust.attacks.atex import Atex
from attrobust.attacks.base import Context
from attrobust.attacks.frame import Frame
from attrobust.attacks.published.maps import OfPredicted
from attrobust.attacks.random_sign import RandomSign
from attrobust.attacks.target import Target
from attrobust.explainers.saliency import Saliency
from attrobust.networks.smoothed import softplus_model
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]
Array = NDArray[np.float64]
K = 78
"""Ten per cent of a digit's pixels."""


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
    smoothed = softplus_model(model, 1.0)
    for image, y, ours in zip(images, labels.tolist(), found, strict=True):
        clean = gradient_map(model, image.clone().requires_grad_(), y)
        objective = official_objective(case, clean)
        measure = official_measure(case, clean, objective)
        current, best, lowest = image, image, measure(clean)
        for _ in range(8):
            attached = current.clone().requires_grad_()
            (slope,) = torch.autograd.grad(objective(gradient_map(smoothed, attached, y, graph=True)), attached)
            current = (image + (current - 1.5 / 255 * slope.sign() - image).clamp(-6 / 255, 6 / 255)).clamp(0, 1)
            if int(model(current[None]).argmax()) != y:
                continue
            now = measure(gradient_map(model, current.clone().requires_grad_(), y))
            if now < lowest:
                best, lowest = current, now
        assert not torch.equal(best, image)
        assert ((ours - best).abs() > 1e-9).sum() <= 3, "but for gradients within rounding of zero"


@pytest.mark.parametrize("name", ["topk", "random-sign"])
def test_official_codes_that_filter_keep_the_prediction_whatever_the_rules(
    name: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0]
    y = model(x).argmax(dim=1)
    free = ThreatModel(eps=1.0, keep_prediction=False)
    context = make_context(model, Saliency(), x, threat=free)
    settings = {"steps": 12, "step": 0.1} if name == "topk" else {"draws": 12, "step": 0.3}
    moved = registry.get(name)(variant="paper", **settings)(context, x, y).x  # type: ignore[call-arg]
    assert torch.equal(model(moved).argmax(dim=1), y)
    assert not torch.equal(moved, x)
    unfiltered = Frame(variant="paper", steps=12)(context, x, y).x
    assert not torch.equal(model(unfiltered).argmax(dim=1), y), "others may change it where that is allowed"


def test_the_official_target_map_is_that_of_the_class_predicted_at_the_moment(
    real_images: tuple[Tensor, Tensor],
) -> None:
    model, x = load("digits/natural"), real_images[0][:4]
    y = model(x).argmax(dim=1)
    found = OfPredicted(Saliency())(model, x, (y + 1) % 10)
    assert torch.equal(found, Saliency()(model, x, y))


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
    smoothed = softplus_model(model, beta)

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
            maps = integrated(smoothed, path, current, y, graph=True).flatten()
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
        lowest = min(size for size, feasible in zip(shared, kept[:, image].tolist(), strict=True) if feasible)
        assert len(set(tops[0, image].tolist()) & set(found[image].tolist())) == lowest


def test_the_official_codes_that_keep_no_ball_are_projected_and_those_that_flip_are_found_out(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:4]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    attack = Target(variant="paper", steps=60, lr=1e-2)
    raw, output = attack.run(context, x, y), attack(context, x, y)
    assert float((raw - x).abs().max()) > 2 * context.threat.eps
    assert context.threat.contains(x, output.x).all()
    flipped = model(context.threat.project(x, raw)).argmax(dim=1) != y
    assert torch.equal(output.feasible, ~flipped)


def test_a_relu_network_gives_the_official_target_attack_without_growth_nothing_to_follow(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural").double(), real_images[0][:3].double()
    y = model(x).argmax(dim=1)
    goals = [make_context(model, Saliency(), x, partners=x.roll(shift, 0)) for shift in (1, 2)]
    own, grown = (
        [Target(variant="paper", steps=3, differentiate=smoothed).run(context, x, y) for context in goals]  # type: ignore[arg-type]
        for smoothed in ("own", "auto")
    )
    # The map of a ReLU network has no derivative: which map is to be drawn changes no bit of where it goes.
    assert torch.equal(*own)
    assert float((grown[0] - grown[1]).abs().max()) > 1e-3 / 255
