"""The ensemble: no metric is better on it than on a member, it descends what a run measures, and says what it spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks import auto, registry
from attrobust.attacks.auto import Auto
from attrobust.attacks.base import Attack, AttackOutput, Context
from attrobust.attacks.direct import Direct
from attrobust.attacks.engine.board import Board
from attrobust.attacks.engine.scored import Score
from attrobust.attacks.noise import Noise
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.metrics import registry as metrics
from attrobust.metrics.base import Similarity
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.pearson import Pearson
from attrobust.metrics.similarity.topk import TopK
from attrobust.naming.spec import canonical
from attrobust.threat import ThreatModel
from attrobust.types import Amount, Named
from tests.helpers.short_ensemble import shorten

ContextMaker = Callable[..., Context]


SHORT = {"rough": 4, "fine": 2, "queries": 8}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, **SHORT)


def similarities() -> list[Similarity]:
    found = [metrics.get(name)() for name in metrics.names()]
    return [metric for metric in found if isinstance(metric, Similarity)]


def test_its_only_setting_is_what_it_descends_beside_the_usual_scores() -> None:
    assert [field.name for field in dataclasses.fields(Auto)] == ["also", "version"]


def test_it_descends_what_a_run_measures() -> None:
    usual: list[Named] = [
        {"name": "topk", "settings": {"k": "10%"}},
        {"name": "spearman", "settings": {}},
        {"name": "normalized-l2", "settings": {"by": "l2", "form": "square"}},
        {"name": "insertion", "settings": {"steps": 10}},
    ]
    assert Auto().aimed_at(usual) == Auto()
    further: list[Named] = [
        {"name": "topk", "settings": {"k": "100"}},
        {"name": "normalized-l2", "settings": {"by": "sum", "form": "norm"}},
        {"name": "pearson", "settings": {}},
    ]
    aimed = Auto().aimed_at([*usual, *further])
    assert aimed.scores == ("cosine", "topk", "spearman", "normalized-l2-sum", "pearson", "topk-100")
    assert aimed.aimed_at([*usual, *further]) == aimed
    assert set(aimed.scores) <= set(aimed.tracked)


def test_every_score_is_descended_where_it_is_the_metric_of_a_run() -> None:
    for name in get_args(Score):
        aimed = Auto().aimed_at([canonical(name, metrics.get(name)())])
        assert name in aimed.scores or name == "normalized-l2"


@pytest.mark.parametrize(
    ("also", "message"),
    [("cosine", "descended anyway"), ("pearson+pearson", "anyway"), ("deletion", "no score"), ("topk-10%", "is topk")],
)
def test_what_cannot_be_descended_is_refused(also: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Auto(also=also)


def test_a_descent_on_a_further_score_lowers_it(attacked: Attacked) -> None:
    aimed = Auto(also="topk-100+pearson")
    output = aimed(attacked.context, attacked.x, attacked.y)
    assert output.members == ("noise", *aimed.scores, "search")
    assert len(output.sources) == aimed.most_results
    clean = attacked.context.maps(attacked.x, attacked.y)
    for score, metric in (("topk-100", TopK(k=Amount.parse("100"))), ("pearson", Pearson())):
        best, usual = (
            torch.stack(
                [metric(clean, attacked.context.maps(images, attacked.y)) for images in (result.x, *result.others)]
            ).amin(dim=0)
            for result in (output, attacked.output)
        )
        assert (best <= usual + 1e-6).all(), score
        assert best.mean() < usual.mean(), score


@dataclass(frozen=True)
class Attacked:
    """What the short ensemble made of six images."""

    model: nn.Module
    context: Context
    x: Tensor
    y: Tensor
    output: AttackOutput


@pytest.fixture(scope="module")
def attacked(coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> Attacked:
    x = coarse_images[0][:6]
    y = coarse_network(x).argmax(dim=1)
    # Without a source model, whose passes would count too: it is one of these networks.
    context = make_context(coarse_network, Saliency(), x, source_model=None)
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, **SHORT)
        return Attacked(coarse_network, context, x, y, Auto()(context, x, y))


def test_no_metric_is_better_on_it_than_on_any_member(attacked: Attacked) -> None:
    context, x, y, output = attacked.context, attacked.x, attacked.y, attacked.output
    members = ["noise", *auto.DESCENDED]
    results = [
        Noise(draws=auto.DRAWS)(context, x, y).x,
        *(auto.descent(name)(context, x, y) for name in auto.DESCENDED),
    ]
    clean = context.maps(x, y)
    pool = [context.maps(images, y) for images in (output.x, *output.others)]
    alone = [context.maps(images, y) for images in results]
    for metric in similarities():
        sign = 1 if metric.higher_is_better else -1
        worst = torch.stack([sign * metric(clean, maps) for maps in pool]).amin(dim=0)
        for member, maps in zip(members, alone, strict=True):
            assert (worst <= sign * metric(clean, maps) + 1e-6).all(), (type(metric).__name__, member)


def test_for_what_it_tracks_it_is_as_strong_as_every_iterate_of_its_members(
    coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """A brute-force board beside it."""
    x = coarse_images[0][:3]
    y = coarse_network(x).argmax(dim=1)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    context = make_context(coarse_network, Saliency(), x)
    clean = context.maps(x, y)
    board = Board(context, x, y, {"cosine": Direct(score="cosine").measure, "topk": Direct(score="topk").measure})

    def both(part: Context, images: Tensor, maps: Tensor, feasible: Tensor) -> None:
        board(part, images, maps, feasible)
        seen.extend((torch.tensor(number), m, ok) for number, m, ok in zip(part.ids, maps, feasible, strict=True))

    Direct(score="cosine", steps=5, restarts=2)(replace(context, observer=both), x, y)
    for score in ("cosine", "topk"):
        measure = Direct(score=score).measure
        for row in range(len(x)):
            own = torch.stack([clean[row], *(m for number, m, ok in seen if number == row and ok)])
            values = measure(clean[row].expand_as(own))(own)
            assert board.value[score][row] == pytest.approx(float(values.min()), abs=1e-6)


def test_every_result_is_feasible_and_says_who_found_it(attacked: Attacked) -> None:
    x, output, threat = attacked.x, attacked.output, ThreatModel(eps=16 / 255)
    assert output.members == ("noise", *auto.DESCENDED, "search")
    assert output.sources.shape == (1 + len(output.others), len(x))
    assert len(output.sources) == Auto().most_results
    for images in (output.x, *output.others):
        assert threat.contains(x, images).all()
        assert torch.equal(attacked.model(images).argmax(dim=1), attacked.y)


def test_it_spends_no_more_than_it_says(attacked: Attacked) -> None:
    passes, budget, images = attacked.output.passes, Auto().budget, len(attacked.x)
    assert 0.9 * budget.double_backward * images <= passes.double_backward <= budget.double_backward * images
    assert passes.forward <= budget.forward * images
    assert passes.backward <= budget.backward * images


def test_the_usual_cost_is_what_its_documentation_says(
    coarse_networks: dict[str, nn.Module],
    coarse_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten(monkeypatch, rough=120, fine=80, queries=8)
    model, x = coarse_networks["relu"], coarse_images[0][:2]
    context = make_context(model, Saliency(), x, source_model=None)
    passes = Auto()(context, x, model(x).argmax(dim=1)).passes
    assert 0.9 * 600 <= passes.double_backward / len(x) <= 600
    assert passes.forward / len(x) == pytest.approx(1260, rel=0.35)
    assert passes.backward / len(x) == pytest.approx(1860, rel=0.2)


def test_attacks_that_return_several_results_say_how_many() -> None:
    several = {name for name in registry.names() if registry.get(name).results is not Attack.results}
    assert several == {name for name in registry.names() if registry.get(name)().most_results > 1} == {"auto"}


def test_the_budget_in_its_documentation_is_the_one_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert f"``budget``, {Auto().budget}," in " ".join((Auto.__doc__ or "").split())


def test_a_network_without_activation_modules_is_attacked_as_it_is(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3, stride=3), nn.Linear(324, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.first(x).tanh().flatten(1))
            return logits

    torch.manual_seed(0)
    model, x = Functional().eval(), real_images[0][:2]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    output = Auto()(context, x, y)
    clean, moved, noisy = (context.maps(images, y) for images in (x, output.x, Noise()(context, x, y).x))
    assert (Cosine()(clean, moved) < Cosine()(clean, noisy)).all()
    assert "noise" not in {output.members[source] for source in output.sources[0].tolist()}


def test_gradients_that_say_nothing_are_searched_around(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that rounds its input has no derivative to follow; queries move its maps all the same."""
    monkeypatch.setattr(auto, "QUERIES", 200)
    model, x = Rounded(load("digits/natural")).eval(), real_images[0][:4]
    y = model(x).argmax(dim=1)
    context = make_context(model, Saliency(), x)
    output = Auto()(context, x, y)
    by_noise = Noise(draws=auto.DRAWS)(context, x, y).x
    assert "search" in {output.members[source] for source in output.sources[0].tolist()}
    clean = context.maps(x, y)
    assert (Cosine()(clean, context.maps(output.x, y)) <= Cosine()(clean, context.maps(by_noise, y)) + 1e-6).all()


class Masked(torch.autograd.Function):
    """Rounding whose derivative is said to be 1, and the derivative of that 0."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return (x * 16).round() / 16

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.detach() + 0 * gradient


class Rounded(nn.Module):
    """A network behind a staircase."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(Masked.apply(x))
        return logits


def test_an_explainer_without_a_derivative_is_attacked_too(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    model, x = load("digits/natural"), real_images[0][:3]
    y = model(x).argmax(dim=1)
    explainer = SparsifiedSmoothGrad(samples=8)
    context = make_context(model, explainer, x, surrogate=Saliency())
    output = Auto()(context, x, y)
    clean, moved = (context.maps(images, y) for images in (x, output.x))
    assert (torch.nn.functional.cosine_similarity(clean.flatten(1), moved.flatten(1)) < 0.99).all()
