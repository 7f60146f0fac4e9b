"""The contract of training methods, over everything registered."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmark.data.base import Loaded
from benchmark.models.lenet import LeNet
from benchmark.training import fresh_network
from methods import registry
from methods.aga import AGA
from methods.base import Method
from methods.hessian import Hessian
from methods.pgd_at import PgdAt

pytestmark = pytest.mark.parametrize("name", registry.names())
SMALL = LeNet(width=8, hidden=16)


@pytest.fixture
def method(name: str) -> Method:
    return registry.get(name)()


@pytest.fixture
def model(method: Method, digits: Loaded) -> nn.Module:
    return fresh_network(method, SMALL, digits, seed=0).train()


@pytest.fixture(scope="module")
def batch(digits: Loaded) -> tuple[Tensor, Tensor]:
    return digits.splits["train"].batch(range(32))


def test_the_card_says_what_it_is(method: Method) -> None:
    assert method.card.title
    assert method.card.equation
    assert method.cost(10) is not None


def test_the_loss_is_a_finite_scalar_that_reaches_every_weight(
    method: Method, model: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    loss = method.loss(model, *batch, torch.Generator().manual_seed(0))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_steps_on_one_batch_lower_the_loss(method: Method, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    losses = []
    for _ in range(2):
        loss = method.loss(model, *batch, torch.Generator().manual_seed(0))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]


def test_random_numbers_come_from_the_generator_alone(
    method: Method, model: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    before = torch.random.get_rng_state()
    # Copies: a pass in training mode may move statistics and singular vectors.
    first, second = (method.loss(copy.deepcopy(model), *batch, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)


def test_batch_model_and_mode_are_left_alone(method: Method, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    state, x = copy.deepcopy(model.state_dict()), batch[0].clone()
    method.loss(model, *batch, torch.Generator().manual_seed(0))
    assert model.training
    assert torch.equal(batch[0], x)
    # What a spectral norm remembers of its weight is its own affair.
    kept = {key for key in state if "parametrizations" not in key or key.endswith(".original")}
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items() if key in kept)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_preparing_twice_changes_nothing_more(method: Method, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(method.prepare(copy.deepcopy(model))(batch[0]), model(batch[0]))


@pytest.mark.parametrize(
    "settings", [{"eps": -1.0}, {"eps": 8.0}, {"l2": -1.0}, {"lam": -1.0}, {"beta": 0.0}, {"steps": 0}, {"step": 0.0}]
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, float]) -> None:
    cls = registry.get(name)
    if not set(settings) <= set(cls.__dataclass_fields__):
        return
    with pytest.raises(ValueError, match=next(iter(settings))):
        cls(**settings)


def test_penalties_vanish_with_their_weights(name: str, digits: Loaded, batch: tuple[Tensor, Tensor]) -> None:
    reduced: dict[str, Method] = {"aga": AGA(l2=0, cosd=0), "hessian": Hessian(lam=0), "pgd-at": PgdAt(eps=0)}
    if name not in reduced:
        return
    method = reduced[name]
    model = fresh_network(method, SMALL, digits, seed=0).train()
    loss = method.loss(model, *batch, torch.Generator().manual_seed(0))
    plain = nn.functional.cross_entropy(model(batch[0]), batch[1])
    assert torch.allclose(loss, plain, atol=1e-6)
