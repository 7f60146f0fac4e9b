"""Smoothed feature maps: the filters against scipy, where the block goes, and what explainers make of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.models.resnet import ResNet18
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.explainers.deeplift import DeepLift
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.guided import GuidedBackprop
from attrobust.explainers.lrp import LRP
from attrobust.explainers.saliency import Saliency
from attrobust.methods.feature_smoothing import FeatureSmoothing
from attrobust.methods.pgd_at import PgdAt
from attrobust.networks.passes import counted
from attrobust.networks.smoothing import Blur, Median, SmoothingBlock
from attrobust.types import Cost, ImageFacts

FACTS = ImageFacts(channels=3, size=32, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3)
FAMILIES: list[ModelFamily] = [LeNet(width=4, hidden=8), ResNet18()]


def block_of(network: nn.Module) -> SmoothingBlock:
    (block,) = (module for module in network.modules() if isinstance(module, SmoothingBlock))
    return block


@pytest.mark.parametrize(
    ("method", "sigma"),
    [
        (FeatureSmoothing(), 0.8),
        (FeatureSmoothing(sigma=1.7), 1.7),
        (FeatureSmoothing(sigma=None), 0.3 * ((32 - 1) * 0.5 - 1) + 0.8),
    ],
)
def test_the_gaussian_is_scipys(method: FeatureSmoothing, sigma: float) -> None:
    blur = block_of(method.prepare(ResNet18().build(FACTS))).filter
    x = torch.randn(2, 64, 7, 9)
    # scipy's name for a border that is not repeated is mirror.
    wanted = scipy.ndimage.gaussian_filter(x.double().numpy(), sigma, mode="mirror", radius=1, axes=(2, 3))
    assert np.abs(blur(x).numpy() - wanted).max() < 1e-6


def test_mean_and_median_are_scipys() -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    mean = Blur(3, torch.full((3, 3), 1 / 9, dtype=torch.float64)).double()
    wanted = scipy.ndimage.uniform_filter(x.numpy(), 3, mode="mirror", axes=(2, 3))
    assert np.abs(mean(x).numpy() - wanted).max() < 1e-12
    wanted = scipy.ndimage.median_filter(x.numpy(), 3, mode="mirror", axes=(2, 3))
    assert np.array_equal(Median()(x).numpy(), wanted)


def test_the_official_rule_makes_the_gaussian_a_box() -> None:
    kernels = [block_of(FeatureSmoothing(sigma=s).prepare(ResNet18().build(FACTS))).filter for s in (0.8, None)]
    ours, official = (kernel.weight[0, 0] for kernel in kernels if isinstance(kernel, Blur))
    assert float((official - 1 / 9).abs().max()) == pytest.approx(0.003, abs=5e-4)
    assert float((ours - official).abs().max()) == pytest.approx(0.159, abs=5e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_block_is_behind_the_first_stage(family: ModelFamily) -> None:
    torch.manual_seed(0)
    plain = family.build(FACTS).eval()
    before = copy.deepcopy(plain.state_dict())
    network = FeatureSmoothing().prepare(plain)
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    block = block_of(network)
    maps: list[Tensor] = []
    block.register_forward_hook(lambda _module, inputs, output: maps.extend([inputs[0], output]))
    x = torch.rand(2, 3, 32, 32)
    network(x)
    stage = plain.layer1 if hasattr(plain, "layer1") else plain.features[:5]
    hidden: list[Tensor] = []
    stage[-1].register_forward_hook(lambda _module, _inputs, output: hidden.append(output))
    logits = plain(x)
    assert maps[0].shape == ((2, 64, 32, 32) if hasattr(plain, "layer1") else (2, 4, 16, 16))
    assert torch.equal(maps[0], hidden[0])
    assert torch.allclose(maps[1], maps[0] + block.conv(block.filter(maps[0])))
    with torch.no_grad():
        block.conv.weight.zero_()
        block.conv.bias.zero_()
    assert torch.equal(network(x), logits)
    assert FeatureSmoothing().prepare(network) is network
    assert [key for key in network.state_dict() if "filter" in key] == []


@pytest.mark.parametrize("explainer", [Saliency(), LRP(), LRP(rule="box"), DeepLift(), GuidedBackprop(), GradCam()])
@pytest.mark.parametrize("family", FAMILIES)
def test_explainers_know_the_block(family: ModelFamily, explainer: Explainer) -> None:
    network = FeatureSmoothing().prepare(family.build(FACTS)).eval()
    x = torch.rand(2, 3, 32, 32)
    assert explainer(network, x, torch.zeros(2, dtype=torch.int64)).isfinite().all()


def test_explainers_that_need_a_rule_refuse_a_median() -> None:
    torch.manual_seed(0)
    network = FeatureSmoothing(filter="median").prepare(FAMILIES[0].build(FACTS)).eval()
    x, y = torch.rand(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    assert Saliency()(network, x, y).isfinite().all()
    with pytest.raises(ValueError, match=r"no rule for node .* \(Median\)"):
        LRP()(network, x, y)
    with pytest.raises(ValueError, match="neither linear nor an activation"):
        DeepLift()(network, x, y)


def test_steps_are_those_of_pgd_at_and_cost_what_is_said(digits: Loaded) -> None:
    method = FeatureSmoothing()
    assert (method.eps, method.steps, method.step) == (8 / 255, 7, None)
    model = fresh_network(method, LeNet(width=4, hidden=8), digits, seed=0).train()
    batch = digits.splits["train"].batch(range(4))
    with counted(model, weights=True) as passes:
        loss = method.loss(model, *batch, torch.Generator().manual_seed(0))
        loss.backward()
    assert Cost(passes.forward / 4, passes.backward / 4, passes.double_backward / 4) == method.cost(10)
    assert torch.equal(loss, PgdAt().loss(model, *batch, torch.Generator().manual_seed(0)))


def test_what_cannot_be_smoothed_is_refused() -> None:
    with pytest.raises(ValueError, match="not known where the first stage of Sequential ends"):
        FeatureSmoothing().prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    with pytest.raises(ValueError, match="sigma"):
        FeatureSmoothing(sigma=0.0)
