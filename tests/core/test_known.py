"""Networks that are said to need no trial compute what their copies do, and nothing else is said to be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.models.resnet import BasicBlock, ResNet18, ResNet18ImageNet, ResNet18Network
from attrobust.explainers import registry
from attrobust.explainers.shared.layers import Outputs
from attrobust.networks import known, private_copy, probe
from attrobust.networks.known import is_known
from attrobust.networks.smoothed import smooth_activation_model, smooth_pooling_model, softplus_model
from attrobust.types import ImageFacts

FACTS = ImageFacts(channels=3, size=32, classes=5, mean=(0.5,) * 3, std=(0.25,) * 3)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: LeNet(width=4, hidden=8).network(FACTS),
    "resnet18": lambda: ResNet18().network(FACTS),
    "resnet18-imagenet": lambda: ResNet18ImageNet().network(FACTS),
    "softplus": lambda: softplus_model(MODELS["lenet"](), 10.0),
    "smoothed": lambda: smooth_pooling_model(smooth_activation_model(MODELS["lenet"](), 10.0), 10.0),
}
HOOKED = ["deeplift", "deeplift-shap", "guided-backprop", "deconvolution", "gradcam", "guided-gradcam", "lrp"]


def small() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(36, 5)).eval()


class Derived(ResNet18Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.relu(x))


def twice(network: nn.Sequential) -> None:
    network.append(network[2])


CHANGES: dict[str, Callable[[Any], object]] = {
    "a hook on a part": lambda n: n[2].register_forward_hook(lambda *_: None),
    "a hook before a part": lambda n: n[2].register_forward_pre_hook(lambda *_: None),
    "a forward on the object": lambda n: setattr(n[2], "forward", functional.relu6),
    "a forward on the network": lambda n: setattr(n, "forward", lambda x: x),
    "a function in the place of a part": lambda n: vars(n).update({"2": functional.relu6}),
    "a module in the place of a part": lambda n: vars(n).update({"2": nn.ReLU6()}),
    "a part that is called twice": twice,
    "a part of another class": lambda n: n.append(nn.LogSoftmax(dim=1)),
    "a part of a derived class": lambda n: n.append(type("Mine", (nn.ReLU,), {})()),
    "a part that writes to its input": lambda n: n.append(nn.ReLU(inplace=True)),
    "a part in training mode": lambda n: n[4].train(),
    "statistics of the batch": lambda n: n.append(nn.BatchNorm1d(5, track_running_stats=False).eval()),
    "a pooling with indices": lambda n: setattr(n[3], "return_indices", True),
    "images as one vector": lambda n: setattr(n[5], "start_dim", 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_ours_are_known(name: str) -> None:
    assert is_known(MODELS[name]().eval())


@pytest.mark.parametrize("name", MODELS)
def test_a_trial_of_a_known_network_finds_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x = MODELS[name]().eval(), torch.rand(2, 3, 32, 32)
    monkeypatch.setattr(probe, "is_known", lambda _: False)
    monkeypatch.setattr(private_copy, "is_known", lambda _: False)
    wanted = type(private_copy.private_copy(network, x).network)
    assert type(private_copy.one_module_per_call(network, x).network) is wanted


@pytest.mark.parametrize("name", MODELS)
def test_the_last_map_of_no_image_is_that_of_an_image(name: str) -> None:
    network, x = MODELS[name]().eval(), torch.rand(1, 3, 32, 32)
    assert Outputs.of(network, x[:0]).last() == Outputs.of(network, x).last()


def test_every_class_that_claims_to_be_known_is_among_those_tried() -> None:
    claimed = {kind for kind in known._FORWARD if kind.__module__.startswith("attrobust.benchmark")}
    assert claimed == {ResNet18Network, BasicBlock}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_is_not_known_with(change: str) -> None:
    network = small()
    assert is_known(network)
    CHANGES[change](network)
    assert not is_known(network)


@pytest.mark.parametrize("name", ["forward", "__call__"])
def test_a_class_that_was_changed_is_not_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    monkeypatch.setattr(nn.ReLU, name, lambda _self, x: functional.relu6(x))
    assert not is_known(network)


def test_a_network_derived_from_a_known_one_is_not_known() -> None:
    assert not is_known(Derived(FACTS, imagenet_stem=False).eval())


@pytest.mark.parametrize("name", HOOKED)
def test_a_known_network_is_not_tried_and_another_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x, y = small(), torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    explainer, tried = registry.get(name)(), []
    compare = probe.check_same
    for room in (probe, private_copy):
        monkeypatch.setattr(room, "check_same", lambda *args: (tried.append(args), compare(*args)))
    maps = explainer(network, x, y)
    assert not tried
    wrapped = type("Mine", (nn.Sequential,), {})(*network).eval()
    assert torch.equal(explainer(wrapped, x, y), maps)
    assert tried
