"""The contract of explainers, over everything registered and on real images."""

from __future__ import annotations

import copy

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from explainers import registry
from explainers.base import Explainer, reduce_map

pytestmark = pytest.mark.parametrize("name", registry.names())


def stock(name: str, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """What unmodified Captum gives for the explainer's default settings."""
    if name == "saliency":
        return captum.attr.Saliency(model).attribute(x, target=target, abs=False)
    if name == "input-x-gradient":
        return captum.attr.InputXGradient(model).attribute(x, target=target)
    if name == "ig":
        return captum.attr.IntegratedGradients(model).attribute(x, target=target, n_steps=32)
    if name == "smoothgrad":
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
        torch.manual_seed(0)
        rows = []
        for image, label in zip(x, target, strict=True):
            torch.manual_seed(0)
            rows.append(tunnel.attribute(image[None], target=label[None], nt_samples=16, stdevs=0.1, abs=False))
        return torch.cat(rows)
    raise AssertionError(f"say what stock Captum gives for {name}")


@pytest.fixture
def explainer(name: str) -> Explainer:
    return registry.get(name)()


@pytest.fixture
def target(network: nn.Module, real_images: tuple[Tensor, Tensor]) -> Tensor:
    return network(real_images[0]).argmax(dim=1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_values_are_those_of_stock_captum(
    name: str, explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    x = real_images[0].clone().requires_grad_()
    wanted = stock(name, network, x, target).detach()
    for create_graph in (False, True):
        found = explainer(network, x, target, create_graph=create_graph, generator=generator())
        assert found.shape == x.shape
        assert (found.detach() - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_the_derivative_is_that_of_the_stock_explainer_by_finite_differences(
    name: str, explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    if not explainer.differentiable:
        return
    model = copy.deepcopy(network).double()
    draw = torch.Generator().manual_seed(1)
    x = (real_images[0][:3].double() + 0.01 * torch.rand(3, 1, 28, 28, generator=draw)).requires_grad_()
    weights = torch.randn(x.shape, generator=draw, dtype=torch.float64)
    y = target[:3]

    def value(images: Tensor, *, create_graph: bool) -> Tensor:
        maps = explainer(model, images, y, create_graph=create_graph, generator=generator())
        return (maps * weights).sum(dim=(1, 2, 3))

    total = value(x, create_graph=True).sum()
    (gradient,) = torch.autograd.grad(total, x) if total.requires_grad else (torch.zeros_like(x),)
    checked = []
    for _ in range(4):
        direction = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        wanted, again = (
            (
                value((x + h * direction).detach(), create_graph=False)
                - value((x - h * direction).detach(), create_graph=False)
            )
            / (2 * h)
            for h in (1e-7, 3e-8)
        )
        found = (gradient * direction).sum(dim=(1, 2, 3))
        scale = (gradient.abs() * direction.abs()).sum(dim=(1, 2, 3)) + value(x, create_graph=False).abs()
        # Where two step sizes disagree, a ReLU or a max-pool switches between the points and there is no derivative.
        smooth = (wanted - again).abs() <= 1e-6 * scale
        assert ((found - wanted).abs() <= 1e-5 * scale)[smooth].all(), (found, wanted)
        checked += smooth.tolist()
    assert sum(checked) >= 6, checked


def test_a_map_does_not_depend_on_the_batch(
    explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    # In float64, as scores are computed: in float32, rounding decides the ties of max-pooling on a flat background.
    model, x = copy.deepcopy(network).double(), real_images[0].double()
    together = explainer(model, x, target, generator=generator())
    for i in range(len(x)):
        alone = explainer(model, x[i : i + 1], target[i : i + 1], generator=generator())
        assert (alone[0] - together[i]).abs().max() <= 1e-9 * together[i].abs().max()


def test_model_gradients_hooks_and_randomness_are_left_alone(
    explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in network.modules()]
    random_state, image = torch.random.get_rng_state(), real_images[0].clone()
    attached = real_images[0].clone().requires_grad_()
    for create_graph, x in ((False, image), (True, attached)):
        explainer(network, x, target, create_graph=create_graph, generator=generator())
    assert [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in network.modules()
    ] == hooks
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(image, real_images[0])
    assert not image.requires_grad
    assert attached.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training


def test_the_same_draws_give_the_same_map_and_others_another_where_stochastic(
    explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    x = real_images[0]
    first, again, other = (
        explainer(network, x, target, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) != explainer.stochastic


def test_asking_for_a_graph_without_a_differentiable_input_is_an_error(
    explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    with pytest.raises(ValueError, match="requires grad"):
        explainer(network, real_images[0], target, create_graph=True)


def test_black_images_give_finite_maps(
    explainer: Explainer, network: nn.Module, real_images: tuple[Tensor, Tensor], target: Tensor
) -> None:
    assert explainer(network, torch.zeros_like(real_images[0]), target).isfinite().all()


@pytest.mark.parametrize("how", ["abs-sum", "sum", "abs-max"])
def test_reductions_are_what_they_say(name: str, how: str) -> None:
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for image, reduced in zip(maps.numpy(), reduce_map(maps, how).numpy(), strict=True):  # type: ignore[arg-type]
        for row in range(4):
            for column in range(4):
                values = [float(image[channel, row, column]) for channel in range(3)]
                expected = {"abs-sum": sum(map(abs, values)), "sum": sum(values), "abs-max": max(map(abs, values))}
                assert abs(expected[how] - reduced[row, column]) < 1e-6
