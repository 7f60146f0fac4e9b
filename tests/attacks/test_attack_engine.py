"""What all descents on explanations share: one pass for map and prediction, the boundary, views, step control."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.adaptive import AdaptiveDescent, Control, schedule
from attrobust.attacks.engine.differentiated import SmoothedModel, activation_displacements, smoothed_model
from attrobust.attacks.engine.feasible import BestFeasible, Objective, along_boundary, margins, retreat
from attrobust.attacks.engine.walk import Point
from attrobust.attacks.topk import TopK
from attrobust.explainers import registry as explainers
from attrobust.explainers.base import Explainer
from attrobust.explainers.occlusion import Occlusion
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.smoothgrad import SmoothGrad
from attrobust.naming.spec import Spec, build
from attrobust.networks.passes import counted
from attrobust.networks.pooling import LogSumExpPool
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]
LIGHT = {"ig": "steps=3", "relex": "steps=2,samples=2", "kernel-shap": "samples=60", "lime": "samples=60"}
FOLLOWED = [
    name
    for name in explainers.names()
    if explainers.get(name)().differentiable and name != "relex" and not explainers.get(name).needs_attention
]


@pytest.mark.parametrize("name", FOLLOWED)
def test_logits_of_the_explaining_pass_are_the_networks_own_with_their_gradient(
    name: str, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    explainer = build(explainers.get(name), Spec.parse(f"{name}:{LIGHT[name]}" if name in LIGHT else name))
    model = copy.deepcopy(network).double()
    x = real_images[0][:2].double().requires_grad_()
    y = model(x).argmax(dim=1)
    context = make_context(model, explainer, x.detach())
    _, logits = context.maps_and_logits(x, y, create_graph=True)
    torch.testing.assert_close(logits, model(x), rtol=1e-12, atol=1e-12)
    found, wanted = (torch.autograd.grad(out.square().sum(), x)[0] for out in (logits, model(x)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("graph", [False, True])
def test_map_and_prediction_of_a_gradient_cost_one_pass(
    graph: bool, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:3].clone() for part in real_images)
    context = make_context(network, Saliency(), x)
    with counted(network) as passes:
        context.maps_and_logits(x.requires_grad_(graph), y, create_graph=graph)
    assert (passes.forward, passes.backward) == (3, 3)


def test_margins_are_differences_of_logits() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.5], [3.0, 3.0, 0.0], [0.0, 1.0, 2.0]])
    assert margins(logits, torch.tensor([1, 0, 0])).tolist() == [1.5, 0.0, -2.0]


@pytest.mark.parametrize("settings", [{}, {"halvings": 6}], ids=str)
def test_a_retreat_ends_where_the_prediction_is_still_kept_and_nearly_as_far_as_it_can(
    settings: dict[str, int], network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:6]
    context = make_context(network, Saliency(), x, threat=ThreatModel(eps=1.0))
    predicted, other = context.predict(x), x.roll(1, 0)
    lost = context.predict(other) != predicted
    inside, outside, predicted = x[lost], other[lost], predicted[lost]
    assert len(inside)
    found = retreat(context, inside, outside, predicted, **settings)
    assert torch.equal(context.predict(found), predicted)
    share = ((found - inside).flatten(1).norm(dim=1) / (outside - inside).flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
    beyond = torch.lerp(inside, outside, share + 2.0 ** -settings.get("halvings", 4))
    assert (context.predict(beyond) != predicted).all()


def test_along_the_boundary_a_step_does_not_lower_the_margin() -> None:
    generator = torch.Generator().manual_seed(0)
    gradient, toward = (torch.randn(20, 1, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    toward[0] = 0
    turned = along_boundary(gradient, toward)
    change = -(turned * toward).flatten(1).sum(dim=1)
    assert (change >= -1e-12).all()
    free = (gradient * toward).flatten(1).sum(dim=1) <= 0
    assert free.any() and not free.all()
    assert torch.equal(turned[free], gradient[free])


def test_only_feasible_iterates_are_kept(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:3]
    context = make_context(network, Saliency(), x, threat=ThreatModel(eps=0.1))
    y = context.predict(x)
    seen: list[Tensor] = []
    watched = replace(context, observer=lambda _context, _x, _maps, feasible: seen.append(feasible))
    best = BestFeasible(watched, x, y, lambda maps: -maps.flatten(1).sum(dim=1))
    offered = torch.stack([x[0], (x[1] + 0.3).clamp(0, 1), x[2]])
    maps, logits = (part.clone() for part in context.maps_and_logits(offered, y))
    maps *= 100
    logits[2] = logits[2].roll(1)
    score = best.offer(offered, maps, logits)
    assert seen[0].tolist() == [True, False, False]
    assert score.isinf().tolist() == [False, True, True]
    assert (best.score < -maps[0].sum() / 2).tolist() == [True, False, False]


def test_a_map_about_which_no_score_says_anything_is_not_kept(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:3]
    context = make_context(network, Saliency(), x)
    y = context.predict(x)
    maps, logits = (part.clone() for part in context.maps_and_logits(x, y))
    maps[0], maps[1] = 0.0, 1.0
    maps[2, 0, 0] = torch.nan
    for attack in (TopK(), Direct(score="topk"), Direct(score="ssim"), Direct(score="cosine")):
        best = BestFeasible(context, x, y, attack.objective(context, x, y))
        assert best.offer(x, maps, logits).isinf().all()
    assert torch.equal(best.x, x)


def test_what_is_never_called_does_not_disturb_a_view() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()).eval()
    network[0].unused, network[0].pool = nn.ReLU(), nn.MaxPool2d(2)  # type: ignore[assignment]
    displacements = activation_displacements(network, ThreatModel(eps=0.1), torch.Size([1, 8, 8]), torch.zeros(1))
    smoothed = smoothed_model(network, displacements, beta=None, pool=None, inverse_temperature=1.0)
    assert smoothed.network[1].beta == pytest.approx(1 / displacements["1"])


def test_the_schedule_is_apgds() -> None:
    assert schedule(100) == {22, 41, 57, 70, 80, 87, 93, 99}


def test_steps_are_halved_as_apgd_halves_them() -> None:
    """Two images: one whose every step pays, and one whose steps do not."""

    def point(scores: list[float]) -> Point:
        return Point(
            x=torch.tensor(scores).view(2, 1, 1, 1), gradient=torch.ones(2, 1, 1, 1), score=torch.tensor(scores)
        )

    control = Control.begin(point([10.0, 10.0]), 2.0)
    for move in ([9.0, 9.0], [8.0, 12.0], [7.0, 13.0], [6.0, 8.5]):
        control.move(point(move))
    control.check()
    assert control.step.tolist() == [2.0, 1.0]
    assert control.point.score.tolist() == [6.0, 8.5], "from the best point on"
    for move in ([5.0, 9.0], [4.0, 9.0]):
        control.move(point(move))
    control.check()
    assert control.step.tolist() == [2.0, 0.5]


@dataclass(frozen=True, kw_only=True)
class Brightness(AdaptiveDescent):
    """Least mass of the map: of no interest but that it has a floor."""

    @property
    def floor(self) -> float:
        return 0.999

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        clean = context.maps(x, y).sum(dim=(1, 2))
        return lambda maps: maps.sum(dim=(1, 2)) / clean


def test_images_that_are_done_leave_the_batch(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    y = network(x).argmax(dim=1)
    context = make_context(network, Saliency(), x)
    output = Brightness(steps=50)(context, x, y)
    assert output.passes.double_backward < 0.5 * 50 * len(x)
    assert (context.maps(output.x, y).sum(dim=(1, 2)) <= 0.999 * context.maps(x, y).sum(dim=(1, 2))).all()


def test_more_restarts_are_never_worse(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    y = network(x).argmax(dim=1)
    context = make_context(network, Saliency(), x)
    attack = Direct(score="cosine", steps=8)
    score = attack.objective(context, x, y)
    one, three = (score(context.maps(replace(attack, restarts=n)(context, x, y).x, y)) for n in (1, 3))
    assert (three <= one + 1e-6).all()
    assert (three < one - 1e-4).any()


def test_how_far_the_ball_moves_a_layer_is_measured_as_it_is() -> None:
    """Of a convolution: each pixel of the perturbation has variance eps²/3, less what the pixel box takes away."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)).double().eval()
    eps = 0.02
    displacements = activation_displacements(
        network, ThreatModel(eps=eps), torch.Size([1, 64, 64]), torch.zeros(1, dtype=torch.float64)
    )
    weight = network[0].weight.flatten(1)
    wanted = float((weight.detach().square().sum(dim=1).mean() * eps**2 / 3).sqrt())
    assert displacements["1"] == pytest.approx(wanted, rel=0.03)
    assert 0 < displacements["2"] < displacements["1"]


def test_a_view_replaces_kinks_only_and_sharpens_only_what_it_replaced() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Softplus(beta=3), nn.Flatten()).eval()
    smoothed = smoothed_model(network, {"1": 0.1, "2": 0.2}, beta=None, pool=None, inverse_temperature=0.5)
    softplus, pool, own = (smoothed.network[index] for index in (1, 2, 3))
    assert isinstance(softplus, nn.Softplus)
    assert isinstance(pool, LogSumExpPool)
    assert (softplus.beta, pool.inverse_temperature, own.beta) == (5.0, 2.5, 3)
    smoothed.cool(10.0)
    assert (softplus.beta, pool.inverse_temperature, own.beta) == (50.0, 25.0, 3)
    fixed = smoothed_model(network, {}, beta=7.0, pool=0.0, inverse_temperature=0.5).network
    assert fixed[1].beta == 7.0
    assert fixed[2] is network[2] or isinstance(fixed[2], nn.MaxPool2d)
    assert isinstance(network[1], nn.ReLU)


def test_a_view_is_sharpened_geometrically_from_the_first_iteration_to_the_last(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = load("digits/natural"), real_images[0][:2]
    sharpened: list[float] = []
    monkeypatch.setattr(SmoothedModel, "cool", lambda _, factor: sharpened.append(factor))
    context = make_context(model, Saliency(), x)
    Direct(score="cosine", steps=4, growth=8.0).run(context, x, model(x).argmax(dim=1))
    # Once when it is made; the last point is scored, but nothing is descended from there.
    assert sharpened == pytest.approx([1.0, 1.0, 2.0, 4.0, 8.0])


def test_a_view_as_smooth_as_the_ball_is_large_beats_the_softplus_of_the_papers(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """On a trained network of ReLUs, scored on the network itself."""
    model, x = load("digits/natural"), real_images[0]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    attack = Direct(score="cosine", steps=20)
    score = attack.objective(context, x, y)
    settings = [{}, {"beta": 10.0, "pool": 0.0, "growth": 1.0}, {"beta": 1.0, "pool": 0.0, "growth": 1.0}]
    scaled, ten, one = (float(score(context.maps(replace(attack, **s)(context, x, y).x, y)).mean()) for s in settings)
    assert scaled < min(ten, one) - 0.05


def test_maps_that_bend_by_themselves_are_differentiated_in_the_network_itself(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:2]
    attack = TopK()
    varies_within_region, straight = (make_context(model, explainer, x) for explainer in (Occlusion(), Saliency()))
    assert attack.differentiated(varies_within_region, x).network is model
    assert attack.differentiated(straight, x).network is not model


@dataclass(frozen=True, kw_only=True)
class Watched(Explainer):
    """Notes the seed of every draw."""

    inner: SmoothGrad = SmoothGrad(samples=2)
    seeds: tuple[list[int], ...] = ([],)
    stochastic = True

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        if create_graph:
            self.seeds[0].append(generator.initial_seed())
        return self.inner.attribute(model, x, target, create_graph=create_graph, generator=generator)


def test_gradients_of_a_stochastic_explainer_never_see_the_same_draw_twice(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:2]
    explainer = Watched(seeds=([],))
    context = make_context(network, explainer, x)
    Direct(score="cosine", steps=3, draws=2)(context, x, network(x).argmax(dim=1))
    assert len(explainer.seeds[0]) == 6
    assert len(set(explainer.seeds[0])) == 6


def test_a_prediction_is_kept_by_shortening_steps_not_by_losing_the_image(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """In a ball so large that most images can be flipped, an attack still moves every map."""
    model, x = load("digits/natural"), real_images[0]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x, threat=ThreatModel(eps=64 / 255))
    output = Direct(score="cosine", steps=20)(context, x, y)
    assert torch.equal(model(output.x).argmax(dim=1), y)
    similarity = F.cosine_similarity(context.maps(x, y).flatten(1), context.maps(output.x, y).flatten(1))
    assert (similarity < 0.8).all()


def test_members_can_be_cut_out_of_a_batch(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    context = make_context(network, Saliency(), x, ids=[7, 3, 9, 4])
    part = context.take([2, 0, 2])
    assert list(part.ids) == [9, 7, 9]
    assert torch.equal(part.partners, context.partners[[2, 0, 2]])


def test_a_single_attack_has_one_result(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2] for part in real_images)
    output = TopK(steps=1)(make_context(network, Saliency(), x), x, y)
    assert isinstance(TopK(), Attack)
    assert output.others.shape == (0, *x.shape)
    assert output.sources.tolist() == [[0, 0]]
