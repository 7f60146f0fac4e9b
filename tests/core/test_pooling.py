"""Smooth pooling is max-pooling in the limit, and has derivatives of every order."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothed import smooth_pooling_model

SHAPES = list(itertools.product((2, 3, (3, 2)), (None, 1, 2, 3), (0, 1), (1, 2), (False, True)))


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), SHAPES)
def test_sharp_enough_it_is_max_pooling_for_every_window(
    kernel: int, stride: int | None, padding: int, dilation: int, ceil: bool
) -> None:
    x = torch.randn(2, 3, 11, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hard = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    wanted = hard(x)
    for inverse_temperature in (10.0, 1e5):
        found = LogSumExpPool(hard, inverse_temperature)(x)
        assert found.shape == wanted.shape
        assert (found >= wanted - 1e-12).all()
        assert (found - wanted).max() <= torch.tensor(9.0).log() / inverse_temperature


def test_a_window_is_the_logarithm_of_a_sum() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = LogSumExpPool(nn.MaxPool2d(2), 3.0)(x)
    by_hand = (3 * x[1, 2, 4:6, 2:4]).exp().sum().log() / 3
    torch.testing.assert_close(found[1, 2, 2, 1], by_hand, rtol=1e-12, atol=0)


def test_first_and_second_derivatives_are_those_of_the_formula() -> None:
    pool = LogSumExpPool(nn.MaxPool2d(3, 2, 1, ceil_mode=True), 5.0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(pool, x)
    assert torch.autograd.gradgradcheck(pool, x)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(2, 3), nn.MaxPool2d(3, 2, 1)], ids=str)
def test_third_derivatives_are_those_of_the_formula(pool: nn.MaxPool2d) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 6, 7, dtype=torch.float64, generator=generator).requires_grad_()

    def derivative(x: Tensor) -> Tensor:
        return torch.autograd.grad(LogSumExpPool(pool, 2.0)(x).square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(derivative, x)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1, ceil_mode=True)], ids=str)
def test_derivatives_are_those_of_the_formula_written_out(pool: nn.MaxPool2d) -> None:
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def written_out(x: Tensor) -> Tensor:
        # Padding is the lowest value that is not in any window's sum.
        size, stride, pad = pool.kernel_size, pool.stride, pool.padding
        wide = nn.functional.pad(x, (pad, pad + pad, pad, pad + pad), value=-1e3)
        return wide.unfold(2, size, stride).unfold(3, size, stride).flatten(4).mul(5.0).logsumexp(dim=4) / 5.0

    results = []
    for function in (LogSumExpPool(pool, 5.0), written_out):
        pooled = function(x)
        (first,) = torch.autograd.grad(pooled.sin().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((pooled[..., :4, :5].detach(), first.detach(), second))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_padding_and_large_values_leave_no_nan_in_single_precision() -> None:
    x = (1e4 * torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    (gradient,) = torch.autograd.grad(
        LogSumExpPool(nn.MaxPool2d(3, 2, 1), 100.0)(x).square().sum(), x, create_graph=True
    )
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert gradient.isfinite().all()
    assert second.isfinite().all()


def test_a_view_shares_the_weights_and_leaves_the_network_as_it_was(real_images: tuple[Tensor, Tensor]) -> None:
    model, x = load("digits/natural"), real_images[0]
    before = model(x)
    smoothed = smooth_pooling_model(model, 1e4)
    assert [id(p) for p in smoothed.parameters()] == [id(p) for p in model.parameters()]
    assert not any(isinstance(module, nn.MaxPool2d) for module in smoothed.modules())
    assert any(isinstance(module, nn.MaxPool2d) for module in model.modules())
    torch.testing.assert_close(smoothed(x), before, rtol=0, atol=5e-2)
    assert torch.equal(model(x), before)


def test_a_network_without_max_pooling_is_its_own_view() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AvgPool2d(2))
    assert smooth_pooling_model(network, 10.0) is network


@pytest.mark.parametrize(
    ("pool", "inverse_temperature", "message"),
    [(nn.MaxPool2d(2), 0.0, "must be above 0"), (nn.MaxPool2d(2, return_indices=True), 1.0, "returns indices")],
)
def test_what_cannot_be_smoothed_is_said(pool: nn.MaxPool2d, inverse_temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogSumExpPool(pool, inverse_temperature)
