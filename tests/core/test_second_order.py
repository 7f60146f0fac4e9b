"""Convolution and softplus with cheap second derivatives have torch's values and derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.second_order import SecondOrder

Layer = Callable[[Tensor], Tensor]


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def convolution(dtype: torch.dtype, **settings: object) -> Layer:
    weight = drawn(6, 4 // int(settings.get("groups", 1)), 3, 3, dtype=dtype, seed=1)  # type: ignore[call-overload]
    bias = drawn(6, dtype=dtype, seed=2)
    return lambda x: F.conv2d(x, weight, bias, **settings)  # type: ignore[arg-type]


LAYERS: dict[str, Callable[[torch.dtype], Layer]] = {
    "conv": lambda dtype: convolution(dtype, padding=1),
    "conv strided": lambda dtype: convolution(dtype, stride=(2, 1), padding=(1, 0)),
    "conv dilated": lambda dtype: convolution(dtype, dilation=2),
    "conv in groups": lambda dtype: convolution(dtype, groups=2),
    "conv padded to the same size": lambda dtype: convolution(dtype, padding="same"),
    "softplus": lambda _: lambda x: F.softplus(x, 3.0),
    "softplus, linear early": lambda _: lambda x: F.softplus(x, beta=3.0, threshold=2.0),
    "softplus, sharp": lambda _: nn.Softplus(200.0),
}


def derivatives(layer: Layer, x: Tensor) -> list[Tensor]:
    """Value, and derivatives up to the third of sums that have them."""
    x = x.clone().requires_grad_()
    value = layer(x)
    (first,) = torch.autograd.grad((value * value.detach().cos()).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * first).sum(), x, create_graph=True)
    (last,) = torch.autograd.grad(first.abs().sum(), x, retain_graph=True)
    (third,) = torch.autograd.grad(second.square().sum(), x)
    return [value.detach(), first.detach(), second.detach(), last, third]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_derivatives_are_those_of_torch(name: str, dtype: torch.dtype) -> None:
    layer, x = LAYERS[name](dtype), drawn(3, 4, 9, 8, dtype=dtype)
    wanted = derivatives(layer, x)
    with SecondOrder():
        found = derivatives(layer, x)
    for ours, theirs in zip(found[:4], wanted[:4], strict=True):
        assert torch.equal(ours, theirs), "value, first and second derivatives are the same to the bit"
    torch.testing.assert_close(found[4], wanted[4], rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "softplus, linear early"])
def test_derivatives_are_finite_differences(name: str) -> None:
    layer, x = LAYERS[name](torch.float64), 0.1 * drawn(1, 4, 5, 5)
    with SecondOrder():
        assert torch.autograd.gradcheck(layer, x.requires_grad_())
        assert torch.autograd.gradgradcheck(layer, x, atol=1e-4 if "sharp" in name else 1e-5)


def test_weights_that_require_gradients_get_them() -> None:
    layer, x = nn.Conv2d(2, 3, 3, dtype=torch.float64), drawn(2, 2, 6, 6).requires_grad_()

    def by_weights() -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [layer.weight, layer.bias, x], allow_unused=True)

    wanted = by_weights()
    with SecondOrder():
        found = by_weights()
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


TRANSFORMS: dict[str, Callable[[Layer, Tensor], Tensor]] = {
    "vmap of grad": lambda layer, x: torch.func.vmap(torch.func.grad(lambda image: layer(image[None]).square().sum()))(
        x
    ),
    "jvp": lambda layer, x: torch.func.jvp(layer, (x,), (x.cos(),))[1],
    "jacobian by rows": lambda layer, x: torch.autograd.functional.jacobian(layer, x[:1, :, :4, :4], vectorize=True),
    "hessian by rows": lambda layer, x: torch.autograd.functional.hessian(
        lambda image: layer(image).square().sum(), x[:1, :, :4, :4], vectorize=True
    ),
}


def windows_written_out(x: Tensor) -> Tensor:
    return F.unfold(x, 2, stride=2).view(len(x), 4, 4, -1).mul(3).logsumexp(dim=2).div(3)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", ["conv", "softplus", "pooling"])
def test_functions_that_torch_transforms_are_what_they_were(name: str, transform: str) -> None:
    x = drawn(2, 4, 8, 8)
    pooling = LogSumExpPool(nn.MaxPool2d(2), 3.0)
    layer = pooling if name == "pooling" else LAYERS[name](torch.float64)
    plain = windows_written_out if name == "pooling" else layer
    wanted = TRANSFORMS[transform](plain, x.requires_grad_())
    with SecondOrder():
        found = TRANSFORMS[transform](layer, x)
    torch.testing.assert_close(found.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-9)


def test_convolutions_under_autocast_and_of_complex_numbers_are_those_of_torch() -> None:
    x, layer = drawn(2, 4, 8, 8, dtype=torch.float32).requires_grad_(), nn.Conv2d(4, 2, 3).requires_grad_(False)
    weight = torch.complex(drawn(2, 4, 3, 3), drawn(2, 4, 3, 3, seed=1))
    with SecondOrder(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with SecondOrder():
        assert F.conv2d(x.to(torch.complex128), weight).is_complex()


@pytest.mark.parametrize("name", ["digits/natural", "digits/aga"])
def test_a_trained_network_s_map_has_the_same_derivative_and_one_convolution_a_layer_less(
    name: str, real_images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = load(name).eval().requires_grad_(False), real_images[0][:3].clone().requires_grad_()

    def derivative() -> tuple[Tensor, int]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            (first,) = torch.autograd.grad(network(x).amax(dim=1).sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), x)
        calls = {event.key: event.count for event in profile.key_averages()}
        return second, calls.get("aten::mkldnn_convolution", 0) + calls.get("aten::convolution_backward", 0)

    wanted, before = derivative()
    with SecondOrder():
        found, after = derivative()
    assert torch.equal(found, wanted)
    layers = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert before - after == layers
