"""Attacks by queries: no derivative is taken, and what they achieve is still an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import scipy.fft
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks.base import Context
from attrobust.attacks.engine.scored import Score, Scored
from attrobust.attacks.engine.waves import cosine_basis, low_frequency
from attrobust.attacks.nes import Nes
from attrobust.attacks.noise import Noise
from attrobust.attacks.sign_hunter import SignHunter, blocks
from attrobust.attacks.square import Square, change
from attrobust.explainers.base import Explainer
from attrobust.explainers.baselines import Edges
from attrobust.explainers.guided import Deconvolution
from attrobust.explainers.occlusion import Occlusion
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.maps.seeds import ImageStreams
from attrobust.networks.smoothed import smooth_pooling_model
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]
QUERIES = 80
ATTACKS = [Nes, Square, SignHunter]
Each = pytest.mark.parametrize("attack", ATTACKS)


def balls(norm: str) -> ThreatModel:
    return ThreatModel(norm=norm, eps=16 / 255 if norm == "linf" else 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@Each
def test_queries_beat_as_many_draws_of_noise(
    attack: type[Scored],
    norm: str,
    coarse_network: nn.Module,
    coarse_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
) -> None:
    x = coarse_images[0][:6]
    context = make_context(coarse_network, Saliency(), x, threat=balls(norm))
    y = context.predict(x)
    score = attack().objective(context, x, y)
    asked = attack(queries=QUERIES)(context, x, y)  # type: ignore[call-arg]
    noisy = Noise(draws=QUERIES)(context, x, y)
    assert asked.passes.forward <= noisy.passes.forward
    assert score(context.maps(asked.x, y)).mean() < score(context.maps(noisy.x, y)).mean()


@Each
def test_more_queries_do_not_help_the_model(
    attack: type[Scored],
    coarse_network: nn.Module,
    coarse_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
) -> None:
    x = coarse_images[0][:6]
    context = make_context(coarse_network, Saliency(), x)
    y = context.predict(x)
    score = attack().objective(context, x, y)
    few, many = (
        score(context.maps(attack(queries=queries)(context, x, y).x, y))  # type: ignore[call-arg]
        for queries in (20, QUERIES)
    )
    assert many.mean() < few.mean()


@pytest.mark.parametrize("score", ["topk", "kendall", "ssim"])
@Each
def test_any_score_is_lowered(
    attack: type[Scored], score: Score, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    context = make_context(load("digits/natural"), Saliency(), x)
    y = context.predict(x)
    asked = attack(score=score, queries=40)  # type: ignore[call-arg]
    objective = asked.objective(context, x, y)
    assert (objective(context.maps(asked(context, x, y).x, y)) < objective(context.maps(x, y))).all()


@pytest.mark.parametrize(
    "explainer", [SparsifiedSmoothGrad(samples=8), Deconvolution(), Edges()], ids=lambda e: type(e).__name__
)
@Each
def test_explainers_without_a_derivative_are_attacked_without_a_surrogate(
    attack: type[Scored], explainer: Explainer, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:4]
    context = make_context(load("digits/natural"), explainer, x, surrogate=None)
    y = context.predict(x)
    score = attack().objective(context, x, y)
    output = attack(queries=40)(context, x, y)  # type: ignore[call-arg]
    assert (score(context.maps(output.x, y)) < score(context.maps(x, y))).all()


def test_queries_are_counted_exactly(real_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> None:
    x, y = (part[:3] for part in real_images)
    context = make_context(load("digits/natural"), Saliency(), x)
    start, pairs = 1, 5
    for attack, asked, clean in (
        (Square(queries=30), 30, 2),
        (Nes(queries=30, pairs=pairs), start + 2 * (2 * pairs + 1), 2),
        (Nes(queries=34, pairs=pairs), start + 3 * (2 * pairs + 1), 2),
        (SignHunter(queries=1), 1, 1),
        (SignHunter(queries=7), 7, 1),
        (SignHunter(queries=30), 30, 1),
    ):
        passes = attack(context, x, y).passes
        # Beside clean maps, the predictions of the base before and after.
        assert passes.forward == len(x) * (asked + clean + 2)
        assert passes.backward == len(x) * (asked + clean)
        assert passes.double_backward == 0


def test_an_estimate_points_along_the_gradient(real_images: tuple[Tensor, Tensor], make_context: ContextMaker) -> None:
    """Inside the ball, where nothing is cut off, a step by many pairs goes down the gradient of a smooth network."""
    x = 0.2 + 0.6 * real_images[0][:6]
    # Maps of a network with max-pooling jump, however small the differences are.
    model = smooth_pooling_model(load("digits/aga"), 5.0)
    context = make_context(model, Saliency(), x, threat=ThreatModel(eps=0.1))
    y = context.predict(x)
    score = Nes().objective(context, x, y)
    pairs, moves = 100, list[Tensor]()

    def watch(_context: Context, seen: Tensor, _maps: Tensor, _feasible: Tensor) -> None:
        moves.append(seen)

    attack = Nes(queries=2 * pairs + 2, pairs=pairs, sigma=0.02, step=0.1)
    attack(replace(context, observer=watch), x, y)
    start, end = moves[0], moves[-1]
    attached = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(context.maps(attached, y, create_graph=True)).sum(), attached)
    along = -torch.cosine_similarity((end - start).flatten(1), gradient.flatten(1), dim=1)
    # Of a gradient in D directions, n random ones show √(n / (n + D)); its signs alone are √(2 / π) of that.
    assert (along > 0.5 * (pairs / (pairs + 784) * 2 / torch.pi) ** 0.5).all(), along


@pytest.mark.parametrize("eps", [8 / 255, 0.3])
def test_a_square_is_what_the_square_attack_changes(eps: float, real_images: tuple[Tensor, Tensor]) -> None:
    x = real_images[0]
    threat, chance = ThreatModel(eps=eps), torch.rand(len(x), 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    moved = change(threat, x, x, 0.05, chance)
    side = round((0.05 * 28 * 28) ** 0.5)
    for image, before, where in zip(moved, x, chance, strict=True):
        top, left = (int((float(place) + 1) / 2 * (28 - side + 1)) for place in where[:2])
        wanted = before.clone()
        wanted[:, top : top + side, left : left + side] += eps if where[2] >= 0 else -eps
        assert (image - wanted.clamp(0, 1)).abs().max() < 1e-6


def test_squares_reach_every_edge_and_no_further(real_images: tuple[Tensor, Tensor]) -> None:
    x = torch.full_like(real_images[0][:2], 0.5)
    for norm in ("linf", "l2"):
        corner = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
        moved = change(ThreatModel(norm=norm, eps=0.1), x, x, 0.1, corner) != x  # type: ignore[arg-type]
        side = round((0.1 * 28 * 28) ** 0.5)
        assert moved[0, 0, :side, :side].all()
        assert moved[1, 0, 28 - side :, 28 - side :].all()
        assert int(moved.sum()) == 2 * side**2
        whole = change(ThreatModel(norm=norm, eps=0.1), x, x, 1.0, corner)  # type: ignore[arg-type]
        assert (whole != x).all()


def test_a_pyramid_has_the_length_of_the_ball(real_images: tuple[Tensor, Tensor]) -> None:
    x = torch.full_like(real_images[0][:3], 0.5)
    chance = torch.tensor([[-0.3, 0.4, 1.0], [0.1, -0.9, -1.0], [0.9, 0.2, 1.0]])
    moved = change(ThreatModel(norm="l2", eps=0.7), x, x, 0.2, chance) - x
    assert (moved.flatten(1).norm(dim=1) - 0.7).abs().max() < 1e-5
    assert torch.equal(moved.flatten(1).sum(dim=1).sign(), chance[:, 2])


def seen_by(attack: Scored, context: Context, x: Tensor, y: Tensor) -> list[Tensor]:
    """Every image that an attack queries."""
    seen = list[Tensor]()
    attack(replace(context, observer=lambda _context, images, _maps, _feasible: seen.append(images)), x, y)
    return seen


@pytest.mark.parametrize("network", ["natural", "aga"])
@pytest.mark.parametrize(
    "explainer", [Deconvolution(), Occlusion(window=14, stride=14)], ids=lambda explainer: type(explainer).__name__
)
def test_flipped_signs_lower_more_than_squares_and_estimated_gradients_at_equal_queries(
    explainer: Explainer, network: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:6]
    context = make_context(load(f"digits/{network}"), explainer, x, surrogate=None)
    y = context.predict(x)
    score = SignHunter().objective(context, x, y)
    hunted, squares, estimated = (
        score(context.maps(attack(queries=QUERIES)(context, x, y).x, y)).mean()  # type: ignore[call-arg]
        for attack in (SignHunter, Square, Nes)
    )
    assert hunted < min(squares, estimated)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_pixel_of_a_query_is_moved_as_far_as_ball_and_box_allow(
    norm: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, eps = 0.3 + 0.4 * real_images[0][:3], 0.2
    threat = ThreatModel(norm=norm, eps=eps)  # type: ignore[arg-type]
    context = make_context(load("digits/natural"), Saliency(), x, threat=threat)
    size = eps if norm == "linf" else eps / x[0].numel() ** 0.5
    images = seen_by(SignHunter(queries=30), context, x, context.predict(x))
    assert len(images) == 30
    for image in images:
        torch.testing.assert_close((image - x).abs(), torch.full_like(x, size), rtol=0, atol=1e-6)


def test_blocks_of_each_size_cover_every_channel_once() -> None:
    x = torch.zeros(2, 3, 5, 9)
    found = blocks(x, ImageStreams(0, [0, 1], "blocks"))
    for parts in (2, 4, 8, 16, 2):
        number = 3 * min(parts, 5) * min(parts, 9)
        level = torch.stack([next(found) for _ in range(number)])
        assert (level.sum(dim=0) == 1).all(), parts
        assert (level.any(dim=(3, 4)).sum(dim=2) == 1).all(), "a block is of one channel"
    assert next(blocks(torch.zeros(1, 1, 1, 1), ImageStreams(0, [0], "blocks"))).all()


def test_a_descent_takes_some_of_the_queries_and_helps(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:6]
    context = make_context(load("digits/natural"), Deconvolution(), x, surrogate=Saliency())
    y = context.predict(x)
    score = SignHunter().objective(context, x, y)
    with_descent = SignHunter(queries=30, descent=10)
    assert len(seen_by(with_descent, context, x, y)) == 30
    assert len(seen_by(SignHunter(queries=6, descent=10), context, x, y)) == 6
    lower, plain = (
        score(context.maps(attack(context, x, y).x, y)).mean() for attack in (with_descent, SignHunter(queries=30))
    )
    assert lower < plain
    assert with_descent.follows_gradient
    assert not SignHunter().follows_gradient


def test_patterns_are_those_of_an_inverse_cosine_transform() -> None:
    coefficients = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(coefficients, (0, 7, 0, 5))
    expected = scipy.fft.idctn(padded.numpy(), axes=(2, 3), norm="ortho")
    found = low_frequency(coefficients, torch.empty(2, 3, 9, 11, dtype=torch.float64))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-13, atol=1e-13)
    for count in (1, 4, 9):
        basis = cosine_basis(count, 9)
        torch.testing.assert_close(basis @ basis.T, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nes(pairs=0), "pairs=0 must be at least 1"),
        (lambda: Nes(queries=11), "queries=11 must be at least 12"),
        (lambda: Nes(sigma=0), "sigma must be above 0"),
        (lambda: Nes(step=-1), "step must be above 0"),
        (lambda: Nes(momentum=1), "momentum=1 must be at least 0 and below 1"),
        (lambda: Square(queries=0), "queries=0 must be at least 1"),
        (lambda: Square(area=0), "area=0 must be above 0 and at most 1"),
        (lambda: SignHunter(queries=0), "queries=0 must be at least 1"),
        (lambda: SignHunter(patterns=0), "patterns=0 must be at least 1"),
        (lambda: SignHunter(waves=0), "waves=0 must be at least 1"),
        (lambda: SignHunter(descent=-1), "descent=-1 must not be negative"),
        (lambda: SignHunter(waves=9).check_size(8, 28), "waves=9 is more than the frequencies of 8×28 images"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
