"""Layers that are named, passes that are counted and calls that are no activations, in every spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from attrobust import attacks, explainers, load
from attrobust.attacks.base import Context
from attrobust.explainers.base import Explainer
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.guided import GuidedBackprop
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.shared.layers import Outputs
from attrobust.networks.passes import Passes, counted
from attrobust.networks.smoothed import smooth_pooling_model

ContextMaker = Callable[..., Context]
Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A small network whose forward is a function of it; 6 channels, also of 6×6."""

    def __init__(self, between: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 6, 5, 2), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.other, self.last = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.leaky, self.another, self.prelu = nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.PReLU(6)
        self.pool, self.linear, self.between = nn.MaxPool2d(2), nn.Linear(6 * 6 * 6, 10), between
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(self.between(self, x)).flatten(1))  # type: ignore[no-any-return]


def modules(net: Net, x: Tensor) -> Tensor:
    return net.other(net.second(net.relu(net.first(x))))  # type: ignore[no-any-return]


SPELLED: dict[str, Forward] = {
    "functions": lambda net, x: F.relu(net.second(net.first(x).relu())),
    "one module": lambda net, x: net.relu(net.second(net.relu(net.first(x)))),
}


def attacked(
    make: ContextMaker, net: nn.Module, explainer: Explainer, images: tuple[Tensor, Tensor]
) -> tuple[Tensor, Passes]:
    x, y = images[0][:3], images[1][:3]
    with counted(net) as passes:
        found = attacks.registry.get("topk")(steps=4)(make(net, explainer, x), x, y).x
    assert (found - x).abs().max() > 0.01
    return found, passes


@pytest.mark.parametrize("spelling", SPELLED)
@pytest.mark.parametrize(
    "explainer",
    [
        *(
            GradCam(rectified=False),
            GradCam(layer="second"),
            GradCam(layer="pool", rectified=False),
            explainers.registry.get("ig")(steps=3),
        ),
        explainers.registry.get("guided-gradcam")(layer="second"),
    ],
    ids=str,
)
def test_layers_have_their_names_and_passes_are_counted_alike(
    explainer: Explainer, spelling: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    expected, by_module = attacked(make_context, Net(modules), explainer, real_images)
    found, passes = attacked(make_context, Net(SPELLED[spelling]), explainer, real_images)
    assert (found - expected).abs().max() < 1e-4
    assert passes == by_module


def test_the_layer_of_a_smoothed_model_is_that_of_the_network(real_images: tuple[Tensor, Tensor]) -> None:
    x = real_images[0][:1]
    for network in (load("digits/natural"), Net(modules)):
        assert Outputs.of(smooth_pooling_model(network, 1.0), x).last() == Outputs.of(network, x).last()


def test_a_map_of_as_many_channels_as_rows_has_channels_first(real_images: tuple[Tensor, Tensor]) -> None:
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, 2)

    layers = nn.Sequential(nn.Conv2d(1, 6, 5, 2), Pool(), nn.Flatten())
    assert Outputs.of(layers, real_images[0][:1]).last().layout == "channels first"


def picked(clamp: Callable[[Tensor], Tensor]) -> Forward:
    return lambda net, x: net.relu(net.first(x)[:, :, clamp(torch.arange(-1, 11))])


ALIKE: dict[str, tuple[Forward, Forward]] = {
    "integers": (picked(lambda i: i.clamp(min=0)), picked(lambda i: i + (i < 0))),
    "integers to a bound": (picked(lambda i: i.clamp(0, 50)), picked(lambda i: i + (i < 0))),
    "integers by relu": (picked(torch.relu), picked(lambda i: i + (i < 0))),
    "an empty range": (lambda net, x: modules(net, x) + x.clamp(0, -1).mean() + 1, modules),
    "settings of modules": (
        lambda net, x: F.relu(F.prelu(net.second(net.prelu(net.first(x))), net.prelu.weight), net.relu.inplace),
        lambda net, x: net.relu(net.prelu(net.second(net.prelu(net.first(x))))),
    ),
    "a window of a module": (
        lambda net, x: F.interpolate(F.max_pool2d(modules(net, x), net.pool.kernel_size), scale_factor=2),
        lambda net, x: F.interpolate(net.pool(modules(net, x)), scale_factor=2),
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_is_no_activation_is_computed_as_it_is(
    case: str, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    one, other = (attacked(make_context, Net(forward), Saliency(), real_images)[0] for forward in ALIKE[case])
    assert (one - other).abs().max() < 1e-4


def test_results_that_are_written_elsewhere_are_left_alone(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    def written(net: Net, x: Tensor) -> Tensor:
        scale = torch.clamp(torch.ones(1), min=0, out=torch.empty(1))
        return modules(net, x) * scale

    expected = attacked(make_context, Net(modules), Saliency(), real_images)[0]
    found = attacked(make_context, Net(written), Saliency(), real_images)[0]
    assert (found - expected).abs().max() < 1e-4


def test_any_activation_that_is_called_again_has_a_module_for_each_call(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    def layers(net: Net, x: Tensor, again: Any) -> Tensor:
        return net.relu(again(net.second(net.leaky(net.first(x)))))  # type: ignore[no-any-return]

    apart, shared = Net(lambda net, x: layers(net, x, net.another)), Net(lambda net, x: layers(net, x, net.leaky))
    expected = attacked(make_context, apart, GuidedBackprop(), real_images)[0]
    found = attacked(make_context, shared, GuidedBackprop(), real_images)[0]
    assert (found - expected).abs().max() < 1e-4


def test_functions_that_are_computed_again_in_the_backward_pass_are_refused(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    def again(net: Net, x: Tensor) -> Tensor:
        return checkpoint(lambda x: F.relu(net.second(x)), net.relu(net.first(x)), use_reentrant=False)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="Net computes a part again"):
        attacked(make_context, Net(again), Saliency(), real_images)
