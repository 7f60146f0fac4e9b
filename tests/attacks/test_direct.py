"""Attacks that descend the score itself, on the network's own maps and on another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.direct import TEMPERATURES, Direct
from attrobust.attacks.engine.scored import Score
from attrobust.attacks.topk import TopK
from attrobust.attacks.transfer import Transfer
from attrobust.explainers.saliency import Saliency
from attrobust.metrics import registry as metrics
from attrobust.threat import ThreatModel
from attrobust.types import Amount

ContextMaker = Callable[..., Context]
SCORES: tuple[Score, ...] = get_args(Score)
STEPS = 10


def reached(attack: Attack, context: Context, x: Tensor, score: Score) -> Tensor:
    """The score of what an attack returns, float[B]."""
    y = context.predict(x)
    images = attack(context, x, y).x
    with torch.no_grad():
        return Direct(score=score).objective(context, x, y)(context.maps(images, y))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("score", SCORES)
def test_a_score_is_lowered_by_descending_it(
    norm: str, score: Score, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = coarse_images[0][:6]
    threat = ThreatModel(norm=norm, eps=16 / 255 if norm == "linf" else 0.8)  # type: ignore[arg-type]
    context = make_context(coarse_network, Saliency(), x, threat=threat)
    few, many = (reached(Direct(score=score, steps=steps), context, x, score) for steps in (2, STEPS))
    y = context.predict(x)
    clean = Direct(score=score).objective(context, x, y)(context.maps(x, y))
    assert (many < clean).all()
    assert many.mean() < few.mean()


@pytest.mark.parametrize("score", ["topk", "spearman", "kendall"])
def test_the_stand_in_of_a_score_lowers_it_more_than_the_published_objective(
    score: Score, coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = coarse_images[0]
    context = make_context(coarse_network, Saliency(), x)
    direct = reached(Direct(score=score, steps=STEPS), context, x, score)
    published = reached(TopK(steps=STEPS), context, x, score)
    assert direct.mean() < published.mean()


def test_what_is_kept_is_the_best_by_the_score_that_the_metric_measures(
    coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """Of all feasible iterates, which an observer sees, none has a lower intersection than what comes out."""
    x = coarse_images[0][:6]
    lowest = torch.full((len(x),), torch.inf, dtype=torch.float64)
    k = Amount(40, percent=False)
    metric = metrics.get("topk")(k=k)  # type: ignore[call-arg]
    whole = make_context(coarse_network, Saliency(), x)
    y = whole.predict(x)
    clean = whole.maps(x, y)

    def watch(context: Context, _x: Tensor, maps: Tensor, feasible: Tensor) -> None:
        seen = metric(clean[list(context.ids)], maps)  # type: ignore[operator]
        for image, value, allowed in zip(context.ids, seen, feasible, strict=True):
            if allowed:
                lowest[image] = min(lowest[image], value)

    context = replace(whole, observer=watch)
    images = Direct(score="topk", k=k, steps=STEPS)(context, x, y).x
    assert torch.equal(metric(clean, whole.maps(images, y)), lowest)  # type: ignore[operator]


def test_images_of_which_no_pixel_is_left_leave_the_batch(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    model = load("digits/natural")
    context = make_context(model, Saliency(), x, threat=ThreatModel(eps=0.3))
    y = context.predict(x)
    attack = Direct(score="topk", k=Amount(3, percent=False), steps=40)
    output = attack(context, x, y)
    left = attack.objective(context, x, y)(context.maps(output.x, y))
    assert (left == 0).sum() >= len(x) / 2
    assert output.passes.double_backward < 40 * len(x)


@pytest.mark.parametrize("score", TEMPERATURES)
def test_the_temperature_is_a_setting(
    score: Score, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    context = make_context(load("digits/aga"), Saliency(), x)
    y = context.predict(x)
    default, same, other = (
        Direct(score=score, steps=3, temperature=temperature)(context, x, y).x
        for temperature in (None, TEMPERATURES[score], 3.0)
    )
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": 0.0}, "temperature must be above 0"), ({"steps": 0}, "steps=0 must be at least 1")],
)
def test_bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Direct(**settings)  # type: ignore[arg-type]


def test_settings_that_make_no_sense_for_a_size_are_refused() -> None:
    with pytest.raises(ValueError, match="ssim needs maps of at least 7×7, not 6×28"):
        Direct(score="ssim").check_size(6, 28)
    with pytest.raises(ValueError, match="k=100 is more than the 64 pixels"):
        Direct(score="topk", k=Amount(100, percent=False)).check_size(8, 8)
    with pytest.raises(ValueError, match="k=64 is every pixel of a map"):
        Direct(score="topk", k=Amount(64, percent=False)).check_size(8, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": Amount(5, percent=False)}, "k has no effect with score=cosine; it is of score=topk"),
        ({"by": "max"}, "by has no effect with score=cosine; it is of score=normalized-l2"),
        ({"temperature": 2.0}, "temperature has no effect with score=cosine"),
        ({"differentiate": "own", "beta": 9.0}, "beta has no effect with differentiate=own"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Direct(**settings)


def test_transfer_follows_the_source_model_and_keeps_what_hurts_the_scored_network(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    scored, source_model = load("digits/pgd-at"), load("digits/natural")
    context = make_context(scored, Saliency(), x, source_model=source_model)
    y = context.predict(x)
    attack = Transfer(steps=STEPS)
    output = attack(context, x, y)
    score = attack.objective(context, x, y)
    before, after = score(context.maps(x, y)), score(context.maps(output.x, y))
    assert output.feasible.all()
    assert (after <= before).all()
    noisy = score(context.maps(context.threat.scatter(x, context.streams("start").uniform(x)), y))
    assert after.mean() < noisy.mean()


def test_transfer_from_the_network_itself_is_the_direct_attack(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    context = make_context(network, Saliency(), x, source_model=network)
    y = context.predict(x)
    direct, transferred = (attack(context, x, y).x for attack in (Direct(steps=5), Transfer(steps=5)))
    assert torch.equal(direct, transferred)


def test_transfer_takes_no_second_derivative_of_the_scored_network(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """A network whose gradients are shattered is attacked as if it had them."""
    x = real_images[0][:4]
    scored = load("digits/natural")
    context = make_context(scored, Saliency(), x, source_model=load("digits/aga"))
    output = Transfer(steps=STEPS, differentiate="own")(context, x, context.predict(x))
    own = Direct(steps=STEPS, differentiate="own")(context, x, context.predict(x))
    assert output.passes.double_backward == STEPS * len(x)
    assert own.passes.double_backward < output.passes.double_backward, "without gradients images leave the batch"
    score = Direct().objective(context, x, context.predict(x))
    after = [score(context.maps(found.x, context.predict(x))).mean() for found in (output, own)]
    assert after[0] < after[1]


def test_transfer_needs_a_source_model(real_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> None:
    x, y = (part[:2] for part in real_images)
    context = make_context(load("digits/aga"), Saliency(), x, source_model=None)
    assert Transfer().source_model == "natural"
    with pytest.raises(
        ValueError, match="transfer needs another network to follow, and the context has no source model"
    ):
        Transfer()(context, x, y)
