"""What is claimed of the training methods here beyond their contract, which ``test_check.py`` tries on all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.loop import correct, fresh_network
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.methods import registry
from attrobust.methods.base import SCRATCH, Batch, Method
from attrobust.naming.spec import Spec, build

from helpers.light import light, trained

pytestmark = pytest.mark.parametrize("name", registry.names())
SMALL = LeNet(width=8, hidden=32)
CPU = torch.device("cpu")
PLAIN: dict[str, dict[str, Any] | None] = {
    "advgrad": {"penalty": "l1", "eps": 0.0},
    "aga": {"l2": 0.0, "cosd": 0.0},
    "art": {"lam": 0.0, "eps": 0.0},
    "atex": None,  # Learns from another network, not from labels.
    "cure": {"lam": 0.0},
    "far": {"lam": 0.0, "eps": 0.0},
    "feature-smoothing": {"eps": 0.0},
    "hessian": {"lam": 0.0},
    "ig-norm": {"lam": 0.0},
    "ig-sum-norm": {"lam": 0.0, "eps": 0.0},
    "igr": {"lam": 0.0, "eps": 0.0, "host": "at"},
    "input-gradient": {"lam": 0.0},
    "jacobian": {"lam": 0.0},
    "lcnn": {"lam_beta": 0.0, "lam_gamma": 0.0, "lam_grad": 0.0},
    "mart": None,  # Boosts the cross-entropy even at the clean image.
    "natural": {},
    "pgd-at": {"eps": 0.0},
    "r2et": {"lam": 0.0, "lam_hessian": 0.0},
    "softplus": {},
    "ssr": {"alpha": 0.0},
    "trades": {"beta": 0.0},
    "weight-decay": {"lam": 0.0},
}
"""Settings that leave nothing of a method but cross-entropy."""
FINE = {"lcnn"}
"""Methods that are not tried on coarse images, of which they know too few to be far from the line."""
QUICK = {"art", "atex", "cure", "feature-smoothing", "ig-norm", "ig-sum-norm"}
"""Methods whose steps take long and that know the digits after three epochs."""


@pytest.fixture
def method(name: str) -> Method:
    return light(name)


@pytest.fixture
def model(method: Method, digits: Loaded) -> nn.Module:
    return fresh_network(method, SMALL, digits, seed=0).train()


@pytest.fixture(scope="module")
def images(digits: Loaded) -> tuple[Tensor, Tensor]:
    return digits.splits["train"].batch(range(32))


@pytest.fixture(scope="module")
def offered(images: tuple[Tensor, Tensor], digits: Loaded) -> Callable[[Method], Batch]:
    """What the loop offers a method: real images, and another network where it goes on from one."""

    def offer(method: Method, seed: int = 0) -> Batch:
        start = None
        if method.start != SCRATCH:
            start = fresh_network(method, SMALL, digits, seed=1).eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        return Batch(x=images[0], y=images[1], generator=generator, progress=0.7, start=start)

    return offer


Offered = Callable[..., Batch]


def test_the_card_says_what_it_is(method: Method) -> None:
    assert method.card.title
    assert method.card.equation
    if method.card.year is not None:
        assert method.card.authors
        assert method.card.arxiv or method.card.note


def test_the_settings_on_the_card_exist(name: str) -> None:
    cls = registry.get(name)
    for settings in cls.card.settings.values():
        build(cls, Spec(name, settings))


def test_what_a_step_costs_is_stated(method: Method) -> None:
    assert method.cost(classes=10) is not None


def test_every_loss_is_a_finite_scalar_that_reaches_every_weight(
    method: Method, model: nn.Module, offered: Offered
) -> None:
    for loss in method.losses(model, offered(method)):
        assert loss.shape == ()
        assert loss.isfinite()
        model.zero_grad()
        loss.backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().sum() > 0, key


def test_a_step_on_one_batch_lowers_the_loss(method: Method, model: nn.Module, offered: Offered) -> None:
    # Long enough to outweigh what an inner attack gains or loses where one of its signs flips.
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    before = next(method.losses(model, offered(method)))
    optimizer.zero_grad()
    before.backward()
    optimizer.step()
    assert next(method.losses(model, offered(method))) < before


def test_frozen_layers_stay_frozen(method: Method, model: nn.Module, offered: Offered) -> None:
    frozen = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    frozen.eval()
    for _ in method.losses(model, offered(method)):
        pass
    assert not frozen.training


def test_a_loss_without_random_numbers_is_a_mean_over_images(
    name: str, model: nn.Module, offered: Offered, digits: Loaded
) -> None:
    cls = registry.get(name)
    method = light(name, adapt=False) if "adapt" in cls.__dataclass_fields__ else light(name)
    model = model.double()
    batch = dataclasses.replace(offered(method), x=offered(method).x.double()[:4], y=offered(method).y[:4])
    if batch.start is not None:
        batch.start.double()

    def value(x: Tensor, y: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return next(method.losses(model, dataclasses.replace(batch, x=x, y=y, generator=generator))).detach()

    together = value(batch.x, batch.y, 0)
    if not torch.equal(together, value(batch.x, batch.y, 1)):
        pytest.skip("the draws of a batch are not those of its images")
    alone = [value(x[None], y[None], 0) for x, y in zip(batch.x, batch.y, strict=True)]
    assert torch.allclose(torch.stack(alone).mean(), together, rtol=1e-9)


def test_nothing_but_cross_entropy_is_left_without_the_methods_own_terms(
    name: str, digits: Loaded, offered: Offered
) -> None:
    settings = PLAIN.get(name)
    if settings is None:
        pytest.skip("is never cross-entropy alone")
    method = light(name, **settings)
    model = fresh_network(method, SMALL, digits, seed=0).train()
    batch = offered(method)
    plain = nn.functional.cross_entropy(model(batch.x), batch.y)
    assert torch.allclose(next(method.losses(model, batch)), plain, atol=1e-6)


def test_real_digits_are_learned(name: str, digits: Loaded, coarse: Loaded, tmp_path: Path) -> None:
    recipe = dataclasses.replace(load_recipe("digits"), epochs=3 if name in QUICK else 5)
    data = digits if name in FINE else coarse
    model = trained(name, SMALL, data, recipe, tmp_path).model
    assert correct(model, data.splits["test"], 300, CPU).double().mean() > 0.85


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_a_cuda_device_is_that_on_the_cpu(name: str, digits: Loaded, offered: Offered) -> None:
    method, losses = light(name), []
    for device in (CPU, torch.device("cuda")):
        model = fresh_network(method, SMALL, digits, seed=0).train().to(device)
        batch = offered(method)
        start = None if batch.start is None else batch.start.to(device)
        generator = torch.Generator(device).manual_seed(0)
        batch = dataclasses.replace(batch, x=batch.x.to(device), y=batch.y.to(device), generator=generator, start=start)
        loss = next(method.losses(model, batch))
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        losses.append(loss.detach().cpu())
    # The draws of the two devices differ; what a method makes of them does not differ much.
    assert torch.allclose(losses[0], losses[1], rtol=0.2)
