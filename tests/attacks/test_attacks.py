"""What is claimed of attacks beyond their contract, which ``test_check.py`` tries on all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.attacks import registry
from attrobust.attacks.base import Attack, AttackOutput, Context
from attrobust.attacks.engine.descent import GradientAttack
from attrobust.attacks.noise import Noise
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.resnet import ResNet18
from attrobust.explainers.base import Explainer
from attrobust.explainers.baselines import Edges
from attrobust.explainers.guided import Deconvolution
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.threat import ThreatModel
from attrobust.types import ImageFacts
from tests.helpers.short_ensemble import shorten

ContextMaker = Callable[..., Context]
STEPS, MANY = 5, 10
QUERIES = 16
FLIPPING = {name for name in registry.names() if registry.get(name).on_prediction}
"""Attacks on the prediction; all others are on the explanation."""
FOLLOWING = [name for name in registry.names() if issubclass(registry.get(name), GradientAttack)]


def short(name: str, **settings: object) -> Attack:
    """The attack with few steps or queries, where it has any."""
    cls = registry.get(name)
    few = {key: value for key, value in (("steps", STEPS), ("queries", QUERIES)) if key in cls.__dataclass_fields__}
    return cls(**(few | settings))  # type: ignore[arg-type]


def rules(name: str, norm: str = "linf", eps: float = 16 / 255) -> ThreatModel:
    """A threat model under which the attack is one."""
    return ThreatModel(norm=norm, eps=eps, keep_prediction=name not in FLIPPING)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _short_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, rough=2, fine=1, queries=6)


DRAWS = 8
"""Batches for each attack and network; over all of them, more than a thousand images."""


@pytest.mark.parametrize("name", registry.names())
def test_results_are_feasible_and_finite_whatever_is_drawn(
    name: str, coarse_network: nn.Module, coarse: Loaded, make_context: ContextMaker
) -> None:
    """Real images beside a black and a saturated one, alone and in batches, in balls of every size and both norms."""
    generator = torch.Generator().manual_seed(len(name))

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    for draw in range(DRAWS):
        rows = torch.randint(200, (1 + pick(6),), generator=generator).tolist()
        x = coarse.splits["test"].batch(rows)[0].clone()
        if pick(2):
            x[0] = float(pick(2))
        norm = ("linf", "l2")[pick(2)]
        eps = 0.0 if draw == 0 else float(10 ** (2.4 * torch.rand((), generator=generator) - 2.4))
        predicted = coarse_network(x).argmax(dim=1)
        cls = registry.get(name)
        attack = short(name, **({"steps": 3} if "steps" in cls.__dataclass_fields__ else {}))
        output = attack(make_context(coarse_network, Saliency(), x, threat=rules(name, norm, eps)), x, predicted)
        for images in (output.x, *output.others):
            assert images.shape == x.shape
            assert images.isfinite().all()
            assert float(images.min()) >= 0
            assert float(images.max()) <= 1
            delta = (images - x).double().flatten(1)
            size = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
            assert (size <= eps + 1e-6).all(), (norm, eps)
            assert name in FLIPPING or torch.equal(coarse_network(images).argmax(dim=1), predicted)
            if eps == 0:
                assert torch.equal(images, x)
        assert torch.equal(output.x[~output.feasible], x[~output.feasible])


@pytest.mark.parametrize("name", registry.names())
def test_the_model_and_randomness_are_left_alone(
    name: str, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model = copy.deepcopy(coarse_network).train()
    first = next(model.parameters())
    first.requires_grad_(False)
    first.grad = torch.ones_like(first)
    state = copy.deepcopy(model.state_dict())
    random_state, image = torch.random.get_rng_state(), coarse_images[0][:2].clone()
    context, classes = make_context(model, Saliency(), image, threat=rules(name)), coarse_images[1][:2].clone()
    partners = context.partners.clone()
    short(name)(context, image, classes)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()][:2] == [False, True]
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in list(model.parameters())[1:])
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(image, coarse_images[0][:2])
    assert torch.equal(classes, coarse_images[1][:2])
    assert torch.equal(context.partners, partners)
    assert list(context.ids) == [0, 1]


@pytest.mark.parametrize("name", registry.names())
def test_the_same_seed_gives_the_same_result(
    name: str, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:3] for part in coarse_images)
    context = make_context(coarse_network, Saliency(), x, seed=4, threat=rules(name))
    first, again = (short(name)(context, x, y).x for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", registry.names())
def test_random_numbers_belong_to_the_image_not_to_the_batch(
    name: str, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:4] for part in coarse_images)
    context = make_context(coarse_network, Saliency(), x, threat=rules(name))
    alone = make_context(
        coarse_network, Saliency(), x[2:3], ids=[2], partners=context.partners[2:3], threat=rules(name)
    )
    # One step: later ones amplify the rounding in which batched and single convolutions differ.
    attack = short(name, **({"steps": 1} if "steps" in registry.get(name).__dataclass_fields__ else {}))
    together = attack(context, x, y).x[2:3]
    single = attack(alone, x[2:3], y[2:3]).x
    assert ((together - single).abs() > 1e-5).double().mean() < 0.01


@dataclass(frozen=True)
class Walk:
    """What an attack that follows gradients reached in ``MANY`` steps from five images."""

    name: str
    context: Context
    x: Tensor
    y: Tensor
    output: AttackOutput


@pytest.fixture(scope="module", params=FOLLOWING)
def walk(
    request: pytest.FixtureRequest,
    coarse_network: nn.Module,
    coarse_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
) -> Walk:
    x = coarse_images[0][:5]
    y = coarse_network(x).argmax(dim=1)
    context = make_context(coarse_network, Saliency(), x)
    return Walk(request.param, context, x, y, short(request.param, steps=MANY)(context, x, y))


def test_attacks_that_follow_gradients_beat_noise_with_as_many_passes(walk: Walk) -> None:
    passes, context, x, y = walk.output.passes, walk.context, walk.x, walk.y
    # A draw of noise is one pass forward and one back.
    draws = (passes.forward + passes.backward + passes.double_backward) // (2 * len(x))
    noisy = Noise(draws=draws)(context, x, y)
    clean = context.maps(x, y)
    cosine = [float(Cosine()(clean, context.maps(output.x, y)).mean()) for output in (walk.output, noisy)]
    assert cosine[0] < cosine[1]


def test_more_steps_do_not_help_the_model(walk: Walk) -> None:
    context, x, y, attack = walk.context, walk.x, walk.y, short(walk.name, steps=2)
    assert isinstance(attack, GradientAttack)
    score = attack.objective(context, x, y)
    few, many = (score(context.maps(output.x, y)) for output in (attack(context, x, y), walk.output))
    assert many.mean() < few.mean()
    assert (many <= score(context.maps(x, y)) + 1e-6).all()


@dataclass(frozen=True, kw_only=True)
class Rogue(Attack):
    """Returns what it is told to, feasible or not, and leaves traces in the model."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        result = x.clone()
        result[0] = float("nan")
        result[1] = x[1] + 5.0
        result[2] = context.partners[2]
        torch.rand(3)
        context.model.train()
        context.model(x)
        with torch.no_grad():
            next(context.model.parameters()).add_(1.0)
        context.model.register_forward_hook(lambda *_: None)
        return result


def test_what_an_author_gets_wrong_is_repaired_and_reported(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    y = network(x).argmax(dim=1)
    threat = ThreatModel(eps=0.9)
    output = Rogue()(make_context(network, Saliency(), x, threat=threat), x, y)
    brightened = threat.project(x, x + 5.0)[1]
    kept = bool(network(brightened[None]).argmax() == y[1])
    assert output.feasible.tolist() == [False, kept, False, True], (
        "not finite, projected, the partner's class, untouched"
    )
    assert torch.equal(output.x[1], brightened if kept else x[1])
    assert torch.equal(output.x[[0, 2, 3]], x[[0, 2, 3]])


def test_what_lies_outside_is_projected_not_forgiven(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    threat = ThreatModel(eps=1 / 255)
    output = Rogue()(make_context(network, Saliency(), x, threat=threat), x, network(x).argmax(dim=1))
    assert output.feasible.tolist() == [False, True, True, True]
    assert torch.equal(output.x[1], threat.project(x, x + 5.0)[1])


@dataclass(frozen=True, kw_only=True)
class InPlace(Attack):
    """Works on the very tensor it is given."""

    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return x.fill_(0.5)


def test_an_attack_that_works_in_place_is_held_against_the_clean_image(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4].clone()
    threat = ThreatModel(eps=4 / 255, keep_prediction=False)
    output = InPlace()(make_context(network, Saliency(), x, threat=threat), x, real_images[1][:4])
    assert torch.equal(x, real_images[0][:4])
    assert torch.equal(output.x, threat.project(x, torch.full_like(x, 0.5)))


def test_a_network_with_batch_statistics_and_hooks_is_put_back(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    facts = ImageFacts(channels=1, size=28, classes=10, mean=(0.3,), std=(0.3,))
    model = ResNet18().build(facts).eval()
    kept = model.register_forward_hook(lambda *_: None)
    state = copy.deepcopy(model.state_dict())
    x = real_images[0][:4]
    Rogue()(make_context(model, Saliency(), x), x, model(x).argmax(dim=1))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert list(model._forward_hooks) == [kept.id]
    assert not model.training


def test_a_prediction_may_change_where_the_threat_allows_it(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    free = ThreatModel(eps=1.0, keep_prediction=False)
    output = Rogue()(make_context(network, Saliency(), x, threat=free), x, real_images[1][:4])
    assert torch.allclose(output.x[2], x.roll(1, 0)[2], atol=1e-6)


def test_passes_are_counted_exactly(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:3] for part in real_images)
    images, draws = len(x), 5
    passes = Noise(draws=draws)(make_context(network, Saliency(), x), x, y).passes
    # Two clean maps; per draw a map, whose pass gives the prediction too; the base's predictions before and after.
    assert passes.forward == images * (2 + draws + 2)
    assert passes.backward == images * (2 + draws)
    assert passes.double_backward == 0
    second = registry.get("topk")(steps=STEPS)(make_context(network, Saliency(), x), x, y).passes  # type: ignore[call-arg]
    assert second.double_backward == images * STEPS


def test_the_score_that_is_kept_is_that_of_the_scored_network(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """A view far from the network misleads the gradient, never the choice of the best iterate."""
    from attrobust import load

    model, x = load("digits/natural"), real_images[0]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    clean = context.maps(x, y).flatten(1)
    top = clean.topk(78, dim=1).indices
    for beta in (0.1, 10.0):
        moved = context.maps(registry.get("topk")(steps=STEPS, beta=beta)(context, x, y).x, y).flatten(1)  # type: ignore[call-arg]
        share = [(m.gather(1, top).sum(1) / m.sum(1)) for m in (clean, moved)]
        assert (share[1] <= share[0] + 1e-6).all()


def test_a_relu_network_has_no_gradient_of_its_own_to_follow(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    from attrobust import load

    model, x = load("digits/natural"), real_images[0]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    clean = context.maps(x, y)
    means = {}
    for smoothed in ("own", "auto"):
        moved = context.maps(registry.get("topk")(steps=STEPS, differentiate=smoothed)(context, x, y).x, y)  # type: ignore[call-arg]
        means[smoothed] = float(F.cosine_similarity(clean.flatten(1), moved.flatten(1)).mean())
    assert means["auto"] < means["own"]


@pytest.mark.parametrize(
    "explainer", [SparsifiedSmoothGrad(samples=8), Deconvolution(), Edges()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("name", FOLLOWING)
def test_explainers_without_a_derivative_are_attacked_by_transfer(
    name: str, explainer: Explainer, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:4]
    y = model(x).argmax(dim=1)
    context = make_context(model, explainer, x, surrogate=Saliency())
    attack = short(name)
    assert isinstance(attack, GradientAttack)
    output = attack(context, x, y)
    score = attack.objective(context, x, y)
    before, after = (score(context.maps(images, y)) for images in (x, output.x))
    assert (after <= before).all(), "scored on the explainer's own maps"
    assert (after < before).any()
    with pytest.raises(ValueError, match="is not differentiable: attack it by transfer"):
        attack(replace(context, surrogate=None), x, y)
