"""Max-pooling without gradients has torch's values, to the bit, and with gradients is torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.networks.forward_only import ForwardOnly

POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d((2, 2), 2),
    nn.MaxPool2d(2, 1),
    nn.MaxPool2d(2, padding=1),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 1)),
    nn.MaxPool2d(2, dilation=2),
    nn.MaxPool2d(2, ceil_mode=True),
]


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=["even", "odd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_values_are_those_of_torch(pool: nn.MaxPool2d, dtype: torch.dtype, size: tuple[int, int]) -> None:
    x = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 0, 2, 3], x[1, 1, 0, 0], x[2, 0, 4, 4] = torch.nan, torch.inf, -torch.inf
    x[:, :, :2, 4:] = 0.5
    for images in (x, x.to(memory_format=torch.channels_last), x.flip(3)):
        wanted = pool(images)
        with ForwardOnly():
            found = pool(images)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_a_gradient_that_is_asked_for_is_that_of_torch() -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    with ForwardOnly():
        (gradient,) = torch.autograd.grad(F.max_pool2d(x, 2).sum(), x)
    assert gradient.flatten().tolist() == [1, 0, 1, 0] + [0] * 4 + [1, 0, 1, 0] + [0] * 4


def test_indices_are_those_of_torch() -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = F.max_pool2d(x, 2, return_indices=True)
    with ForwardOnly():
        found = F.max_pool2d(x, kernel_size=2, return_indices=True)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_network_has_the_same_logits_and_its_pooling_is_not_asked_for_places(
    real_images: tuple[Tensor, Tensor],
) -> None:
    network, x = load("digits/natural"), real_images[0]

    def looked() -> tuple[Tensor, bool]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.no_grad():
            logits = network(x)
        return logits, any("max_pool2d" in event.key for event in profile.key_averages())

    wanted, places = looked()
    with ForwardOnly():
        found, still = looked()
    assert torch.equal(found, wanted)
    assert (places, still) == (True, False)
