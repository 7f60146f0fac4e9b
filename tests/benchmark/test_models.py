"""The contract of architectures, over everything registered, and torchvision's ResNet-18."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from attrobust.benchmark.models import registry
from attrobust.benchmark.models.base import ModelFamily
from attrobust.networks.smoothed import Normalize, softplus_model
from attrobust.types import ImageFacts

FACTS = ImageFacts(channels=3, size=32, classes=7, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def family_of(name: str) -> type[ModelFamily]:
    """The class, or a skipped test where the package it stands for is not installed."""
    family = registry.get(name)
    if family.package:
        pytest.importorskip(family.package)
    return family


@pytest.mark.parametrize("name", registry.names())
def test_a_network_normalises_inside_and_has_one_activation_per_call_site(name: str) -> None:
    model = family_of(name)().build(FACTS).eval()
    x = torch.rand(2, 3, 32, 32)
    assert model(x).shape == (2, 7)
    layer = next(module for module in model.modules() if isinstance(module, Normalize))
    assert layer.mean.flatten().tolist() == pytest.approx(FACTS.mean)
    calls: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda module, *_: calls.append(module))
    model(x)
    assert len(calls) == len({id(module) for module in calls}) > 0
    assert not any("mean" in key or "std" in key for key in model.state_dict() if "normalize" in key)


@pytest.mark.parametrize("name", registry.names())
def test_activations_can_be_chosen_for_a_users_checkpoint(name: str) -> None:
    family = family_of(name)
    torch.manual_seed(0)
    relu = family().build(FACTS).eval()
    smooth = family(activation="softplus", beta=5.0).build(FACTS).eval()
    smooth.load_state_dict(relu.state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(smooth(x), softplus_model(relu, 5.0)(x))


def test_resnet18_imagenet_is_torchvisions() -> None:
    facts = ImageFacts(channels=3, size=224, classes=1000, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    ours = registry.get("resnet18-imagenet")().build(facts).eval()
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 64)
    normalised = (x - torch.tensor(facts.mean).view(1, 3, 1, 1)) / torch.tensor(facts.std).view(1, 3, 1, 1)
    assert torch.allclose(ours(x), theirs(normalised), atol=1e-5)


def test_images_too_small_for_lenet_are_refused() -> None:
    facts = ImageFacts(channels=1, size=3, classes=2, mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="at least 4×4"):
        registry.get("lenet")().build(facts)
