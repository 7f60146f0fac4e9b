"""Methods without official vectors against twins written from the equations, image by image, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr
from torch import Tensor, nn

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.loop import fresh_network
from attrobust.methods.far import Far
from attrobust.methods.ig_norm import IgNorm
from attrobust.methods.ig_sum_norm import IgSumNorm
from attrobust.methods.igr import Igr
from attrobust.methods.losses import integrated as integrated_module
from attrobust.methods.losses.integrated import Path, cross_entropies, true_logits
from attrobust.methods.mart import Mart
from attrobust.methods.pgd_at import PgdAt
from attrobust.methods.softplus import Softplus
from attrobust.methods.weight_decay import WeightDecay

from helpers.vectors import tiny_network, vectors


@pytest.fixture(scope="module")
def model(digits: Loaded) -> nn.Module:
    """An untrained softplus network with weights large enough that its classes differ."""
    network = fresh_network(Softplus(), LeNet(width=4, hidden=8), digits, seed=3).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network.eval()


@pytest.fixture(scope="module")
def images(digits: Loaded) -> tuple[Tensor, Tensor]:
    x, y = digits.splits["train"].batch(range(4))
    return x.double(), y


def probabilities(model: nn.Module, x: Tensor) -> list[float]:
    exponentials = [math.exp(value) for value in model(x[None])[0].tolist()]
    return [value / sum(exponentials) for value in exponentials]


def slope(model: nn.Module, x: Tensor, y: int, of: str) -> Tensor:
    """Gradient of one image's cross-entropy or true logit."""
    x = x.clone().requires_grad_()
    logits = model(x[None])[0]
    value = logits.logsumexp(dim=0) - logits[y] if of == "loss" else logits[y]
    return torch.autograd.grad(value, x)[0]


def integrated(model: nn.Module, start: Tensor, end: Tensor, y: int, points: int, of: str) -> Tensor:
    total = torch.zeros_like(end)
    for k in range(1, points + 1):
        total += slope(model, start + k / points * (end - start), y, of) / points
    return (end - start) * total


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float(np.mean([-math.log(probabilities(model, image)[int(k)]) for image, k in zip(x, y, strict=True)]))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def near(found: Tensor, wanted: float) -> None:
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_integrated_gradients_are_the_sum_over_the_path_and_complete(
    of: str, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    start = x.roll(1, 0)
    scalar = cross_entropies if of == "loss" else true_logits
    found = Path(scalar, 3)(model, start, x, y)
    for i in range(len(x)):
        wanted = integrated(model, start[i], x[i], int(y[i]), 3, of)
        assert torch.allclose(found[i], wanted, rtol=1e-9, atol=1e-15)
    fine = Path(scalar, 2000)(model, start[:1], x[:1], y[:1]).sum()
    difference = scalar(model(x[:1]), y[:1]) - scalar(model(start[:1]), y[:1])
    assert torch.allclose(fine, difference, rtol=2e-2)


def test_points_of_a_path_are_cut_into_parts_unless_they_share_statistics(
    model: nn.Module, images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = images
    path, batches = Path(true_logits, 5), []
    whole = path(model, torch.zeros_like(x), x, y)
    monkeypatch.setattr(integrated_module, "ROWS", 2 * len(x))
    handle = model.register_forward_pre_hook(lambda _module, inputs: batches.append(len(inputs[0]) // len(x)))
    parts = path(model, torch.zeros_like(x), x, y)
    was_training = model.training
    path(model.train(), torch.zeros_like(x), x, y)
    model.train(was_training)
    handle.remove()
    assert torch.allclose(parts, whole, rtol=1e-12, atol=1e-15)
    assert batches == ([5] if was_training else [2, 2, 1]) + [5]


def test_the_derivative_of_integrated_gradients_is_that_of_differences() -> None:
    data = vectors("cure")
    # Max-pooling has kinks that differences would step over.
    model = tiny_network(data, "S", lambda: nn.Softplus(beta=3))
    x, y, path = data["x"], data["y"], Path(true_logits, 3)

    def value(end: Tensor) -> Tensor:
        return path(model, torch.zeros_like(x), end, y).square().sum().detach()

    end = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(path(model, torch.zeros_like(x), end, y).square().sum(), end)
    direction = torch.randn(x.shape, generator=generator(), dtype=torch.float64)
    h = 1e-5
    numeric = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert torch.allclose((gradient * direction).sum(), numeric, rtol=1e-7)


@pytest.mark.parametrize("cls", [IgNorm, IgSumNorm])
def test_ig_norm(cls: type[IgNorm], model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    method = cls(eps=0.1, steps=2, step=0.04, lam=0.7, points=3, attack_points=2)
    draws = generator()
    start = (x + 0.1 * (2 * torch.rand(x.shape, generator=draws, dtype=torch.float64) - 1)).clamp(0, 1)
    moved = start.clone()
    for i in range(len(x)):
        for _ in range(2):
            point = moved[i].clone().requires_grad_()
            norm = torch.zeros((), dtype=torch.float64)
            total = torch.zeros_like(point)
            for k in (1, 2):
                place = x[i] + k / 2 * (point - x[i])
                logits = model(place[None])[0]
                loss = logits.logsumexp(dim=0) - logits[y[i]]
                total = total + torch.autograd.grad(loss, place, create_graph=True)[0] / 2
            norm = ((point - x[i]) * total).abs().sum()
            if cls is IgSumNorm:
                logits = model(point[None])[0]
                norm = logits.logsumexp(dim=0) - logits[y[i]] + 0.7 * norm
            (gradient,) = torch.autograd.grad(norm, point)
            step = (point.detach() + 0.04 * gradient.sign() - x[i]).clamp(-0.1, 0.1)
            moved[i] = (x[i] + step).clamp(0, 1)
    norms = [float(integrated(model, x[i], moved[i], int(y[i]), 3, "loss").abs().sum()) for i in range(len(x))]
    wanted = cross_entropy(model, moved if cls is IgSumNorm else x, y) + 0.7 * float(np.mean(norms))
    near(method.loss(model, x, y, generator()), wanted)


@pytest.mark.parametrize("form", ["aat", "advaat"])
def test_far_for_the_images_it_finds(
    form: str, model: nn.Module, images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = images
    moved = (x + 0.05 * torch.randn(x.shape, generator=generator(), dtype=torch.float64)).clamp(0, 1)
    monkeypatch.setattr(Far, "ascend", lambda *_: moved)
    found = Far(form=form, lam=0.7, points=3).loss(model, x, y, generator())  # type: ignore[arg-type]
    correlations = []
    for i in range(len(x)):
        maps = [
            integrated(model, torch.zeros_like(x[i]), image, int(y[i]), 3, "logit").flatten().numpy()
            for image in (x[i], moved[i])
        ]
        correlations.append(pearsonr(*maps).statistic)
    near(found, cross_entropy(model, moved if form == "advaat" else x, y) + 0.7 * (1 - float(np.mean(correlations))))


def test_fars_inner_steps_lower_the_correlation(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    methods = [Far(form="aat", eps=eps, steps=steps, points=3) for eps, steps in ((0.0, 1), (0.1, 1), (0.1, 8))]
    losses = [method.loss(model, x, y, generator()).detach() for method in methods]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("host", ["at", "trades", "mart"])
def test_igr_is_its_host_and_an_angle(
    host: str, model: nn.Module, images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = images
    moved = (x + 0.05 * torch.randn(x.shape, generator=generator(), dtype=torch.float64)).clamp(0, 1)
    method = Igr(host=host, lam=0.7, points=3)  # type: ignore[arg-type]
    for cls in (PgdAt, Mart):
        monkeypatch.setattr(cls, "adversarial", lambda *_: moved)
    monkeypatch.setattr("attrobust.methods.trades.Trades.adversarial", lambda *_: moved)
    black = torch.zeros_like(x[0])
    angles = [
        cosine(*(integrated(model, black, image, int(k), 3, "logit").flatten().numpy() for image in (a, b)))
        for a, b, k in zip(x, moved, y, strict=True)
    ]
    alone = Igr(host=host, lam=0.0, points=3).loss(model, x, y, generator())  # type: ignore[arg-type]
    near(method.loss(model, x, y, generator()) - alone, 0.7 * float(np.mean(angles)))
    if host == "at":
        near(alone, cross_entropy(model, moved, y))


def test_mart(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    moved = (x + 0.05 * torch.randn(x.shape, generator=generator(), dtype=torch.float64)).clamp(0, 1)
    total = 0.0
    for image, other, k in zip(x, moved, y.tolist(), strict=True):
        p, q = probabilities(model, image), probabilities(model, other)
        boosted = -math.log(q[k]) - math.log(1.0001 - max(value for c, value in enumerate(q) if c != k))
        apart = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        total += boosted + 5.0 * apart * (1 - p[k])
    near(Mart().loss_at(model, x, moved, y), total / len(x))


def test_the_margin_of_carlini_and_wagner(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    moved = x.clone()
    for i in range(len(x)):
        for _ in range(2):
            point = moved[i].clone().requires_grad_()
            logits = model(point[None])[0]
            others = torch.stack([logits[c] for c in range(10) if c != int(y[i])])
            margin = -(logits[y[i]] - others.max() + 500)
            (gradient,) = torch.autograd.grad(margin, point)
            moved[i] = (x[i] + (point.detach() + 0.03 * gradient.sign() - x[i]).clamp(-0.05, 0.05)).clamp(0, 1)
    method = PgdAt(eps=0.05, steps=2, step=0.03, random_start=False, objective="cw")
    assert torch.allclose(method.adversarial(model, x, y, generator()), moved, rtol=0, atol=1e-12)
    near(method.loss(model, x, y, generator()), cross_entropy(model, moved, y))


def test_weight_decay_counts_kernels_and_matrices(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    squares = sum(
        float((module.weight.detach() ** 2).sum())
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    )
    near(WeightDecay(lam=0.01).loss(model, x, y, generator()), cross_entropy(model, x, y) + 0.01 * squares)
