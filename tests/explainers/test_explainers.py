"""The contract of explainers, over everything registered and on real images."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from attrobust.benchmark.data.base import Loaded
from attrobust.explainers import registry
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.maps.reduction import reduce_map

from helpers.stock import STOCK

NAMES = [name for name in registry.names() if not registry.get(name).needs_attention]
"""What explains convolutional networks; for the others see ``test_transformers``."""
Images = tuple[Tensor, Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning:captum")

LIGHT: dict[str, dict[str, object]] = {
    "ig": {"steps": 8},
    "relex": {"steps": 2, "samples": 4, "unroll": 2},
    "occlusion": {"window": 7, "stride": 7},
    "feature-ablation": {"size": 7},
    "shapley-sampling": {"size": 14, "samples": 2},
    **{name: {"size": 10, "samples": 24} for name in ("kernel-shap", "lime")},
    **{name: {"samples": 4} for name in ("smoothgrad", "smoothgrad-square", "vargrad", "gradient-shap")},
    **{name: {"samples": 4} for name in ("uniform-gradient", "sparsified-smoothgrad")},
}
"""Settings for tests that need many evaluations."""


HOOKED = ("deeplift", "guided-backprop", "deconvolution", "gradcam", "guided-gradcam", "lrp")
"""What looks into a network's layers; to the others it is a function."""
LIGHT_ONLY = {"relex", "kernel-shap", "lime"}
"""Where differences are those of the explainer's own values: RelEx is exact only where every step is unrolled, and
Captum stores the coefficients of the other two in float32."""


@dataclass(frozen=True)
class Subject:
    """A network with images it can explain; the images are real, with a little noise against exact ties."""

    model: nn.Module
    x: Tensor
    target: Tensor


def subject_of(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Subject:
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model, x = copy.deepcopy(model).to(dtype), (x.double() * 0.98 + 0.01 * noise).to(dtype)
    return Subject(model, x, model(x).argmax(dim=1))


@pytest.fixture(scope="module", params=["softplus", "relu", "resnet"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def colour_subject(model: torchvision.models.ResNet, digits: Loaded) -> Subject:
    """A residual network normalised to the digits, with two of them in three channels."""
    x = digits.splits["test"].batch(range(64))[0].repeat(1, 3, 1, 1)
    with torch.no_grad():
        model.train()(x)
    return subject_of(model.eval(), x[:2], torch.float64)


@pytest.fixture(scope="module")
def resnet(digits: Loaded) -> Subject:
    """torchvision's of a block a stage: one in-place ReLU called twice per block, ``+=``, shortcuts of both kinds.

    The last stage is left out: it has three quarters of the weights, and one pixel of 28×28 to use them on.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1])
        model.layer4, model.fc = nn.Sequential(), nn.Linear(256, 10)
    return colour_subject(model, digits)


@pytest.fixture(scope="module")
def resnet18(digits: Loaded) -> Subject:
    """torchvision's, as it comes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=10)
    return colour_subject(model, digits)


@pytest.fixture(scope="module")
def subject(kind: str, resnet: Subject, coarse_networks: dict[str, nn.Module], coarse_images: Images) -> Subject:
    """In float64, as scores are computed."""
    return resnet if kind == "resnet" else subject_of(coarse_networks[kind], coarse_images[0][:4], torch.float64)


@pytest.fixture(scope="module", params=["softplus", "relu"])
def small(request: pytest.FixtureRequest, coarse_networks: dict[str, nn.Module], coarse_images: Images) -> Subject:
    """In float32, as attacks are computed."""
    return subject_of(coarse_networks[request.param], coarse_images[0][:3], torch.float32)


def light(name: str) -> Explainer:
    return registry.get(name)(**LIGHT.get(name, {}))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    scale = wanted.flatten(1).abs().amax(dim=1).clamp_min(1e-300)
    return bool(((found - wanted).flatten(1).abs().amax(dim=1) <= tolerance * scale).all())


def assert_values_are_stock(name: str, subject: Subject) -> None:
    # Few images are enough to wait for; the batch is another test's.
    count = 1 if subject.x.shape[1] == 3 else 2
    model, x, target = subject.model, subject.x[:count], subject.target[:count]
    wanted = STOCK[name](model, x, target, generator()).detach()
    explainer = registry.get(name)()
    found = explainer(model, x, target, generator=generator())
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert not found.requires_grad
    assert close(found, wanted, 1e-6), (found - wanted).abs().amax() / wanted.abs().amax()
    if explainer.differentiable:
        attached = x.clone().requires_grad_()
        assert close(
            explainer(model, attached, target, create_graph=True, generator=generator()).detach(), wanted, 1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_stock_captum(name: str, subject: Subject) -> None:
    assert_values_are_stock(name, subject)


@pytest.mark.parametrize("name", HOOKED)
def test_values_of_resnet18_as_it_comes_are_those_of_stock_captum(name: str, resnet18: Subject) -> None:
    assert_values_are_stock(name, resnet18)


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_is_that_of_the_stock_explainer_by_finite_differences(
    name: str, kind: str, subject: Subject
) -> None:
    explainer = light(name) if kind == "resnet" or name in LIGHT_ONLY else registry.get(name)()
    model, y = subject.model, subject.target[:2]
    draw = generator(1)
    x = subject.x[:2].clone().requires_grad_()
    weights = torch.randn(x.shape, generator=draw, dtype=torch.float64)

    def value(images: Tensor, *, create_graph: bool) -> Tensor:
        maps = explainer(model, images, y, create_graph=create_graph, generator=generator())
        return (maps * weights).sum(dim=(1, 2, 3))

    def stock(images: Tensor) -> Tensor:
        # A residual network takes too long for the oracles' loops over images.
        if kind == "resnet" or name in LIGHT_ONLY:
            return value(images, create_graph=False)
        return (STOCK[name](model, images, y, generator()) * weights).sum(dim=(1, 2, 3)).detach()

    if not explainer.differentiable:
        with pytest.raises(ValueError, match="is not differentiable"):
            value(x, create_graph=True)
        return
    (gradient,) = torch.autograd.grad(value(x, create_graph=True).sum(), x)
    level = value(x, create_graph=False).abs()
    checked = []
    for _ in range(4):
        direction = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        slopes = [
            (stock((x + h * direction).detach()) - stock((x - h * direction).detach())) / (2 * h) for h in (1e-7, 3e-8)
        ]
        found = (gradient * direction).sum(dim=(1, 2, 3))
        scale = (gradient.abs() * direction.abs()).sum(dim=(1, 2, 3)) + level
        # Where two step sizes disagree, a ReLU or a max-pool switches between the points and there is no derivative.
        smooth = (slopes[0] - slopes[1]).abs() <= 1e-6 * scale
        assert ((found - slopes[0]).abs() <= 1e-5 * scale)[smooth].all(), (found, slopes)
        checked += smooth.tolist()
        if sum(checked) >= 4:
            break
    assert sum(checked) >= 3, checked


@pytest.mark.parametrize("name", NAMES)
def test_a_map_depends_neither_on_its_batch_nor_on_the_chunks(name: str, subject: Subject) -> None:
    explainer, model, x, target = light(name), subject.model, subject.x, subject.target
    together = explainer(model, x, target, generator=generator())
    for i in range(len(x)):
        alone = explainer(model, x[i : i + 1], target[i : i + 1], generator=generator())
        assert close(alone, together[i : i + 1], 1e-9)
    with memory_budget(1):
        assert close(explainer(model, x, target, generator=generator()), together, 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_derivative_does_not_depend_on_the_chunks(name: str, small: Subject) -> None:
    explainer = light(name)
    if not explainer.differentiable:
        return
    model = copy.deepcopy(small.model).double().requires_grad_()
    weights = torch.randn(small.x.shape, generator=generator(2), dtype=torch.float64)
    found = []
    for size in (1, 1 << 40):
        x = small.x.double().requires_grad_()
        with memory_budget(size):
            maps = explainer(model, x, small.target, create_graph=True, generator=generator())
        # The budget may be another one by the time the derivative is asked for.
        total = (maps * weights).sum()
        found.append(torch.autograd.grad(total, [x, *model.parameters()], allow_unused=True))
    scale = max(float(gradient.abs().max()) for gradient in found[1] if gradient is not None)
    for one, other in zip(*found, strict=True):
        if one is None or other is None:
            assert one is None or not one.any()
            assert other is None or not other.any()
        else:
            assert (one - other).abs().max() <= 1e-9 * scale


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_map_does_not_depend_on_the_device(name: str, subject: Subject) -> None:
    explainer = light(name)
    here = explainer(subject.model, subject.x, subject.target, generator=generator())
    model, x, target = copy.deepcopy(subject.model).cuda(), subject.x.cuda(), subject.target.cuda()
    assert close(explainer(model, x, target, generator=generator()).cpu(), here, 1e-6)


def traces(model: nn.Module) -> list[object]:
    """All that an explainer could leave behind in a network."""
    return [
        *((name, set(vars(module)), module.training) for name, module in model.named_modules()),
        *((len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()),
        *((parameter.requires_grad, parameter.grad is None, id(parameter)) for parameter in model.parameters()),
        *(value.sum().item() for value in model.state_dict().values()),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_model_gradients_hooks_and_randomness_are_left_alone(name: str, small: Subject) -> None:
    explainer = light(name)
    before, image, attached = traces(small.model), small.x.clone(), small.x.clone().requires_grad_()
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[union-attr]
    explainer(small.model, image, small.target, generator=generator())
    if explainer.differentiable:
        explainer(small.model, attached, small.target, create_graph=True, generator=generator()).sum().backward()
        assert attached.grad is not None
        for parameter in small.model.parameters():
            parameter.grad = None
    explainer(small.model, small.x, small.target)
    assert traces(small.model) == before
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[arg-type]
    assert random.getstate() == states[2]
    assert torch.equal(image, small.x)
    assert not image.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_gradients_may_be_switched_off_outside(name: str, small: Subject) -> None:
    explainer = light(name)
    wanted = explainer(small.model, small.x, small.target, generator=generator())
    with torch.no_grad():
        assert torch.equal(explainer(small.model, small.x, small.target, generator=generator()), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draws_give_the_same_map_and_others_another_where_stochastic(name: str, small: Subject) -> None:
    explainer = light(name)
    first, again, other = (
        explainer(small.model, small.x, small.target, generator=generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) != explainer.stochastic


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_explained_is_an_error(name: str, small: Subject) -> None:
    explainer = light(name)
    with pytest.raises(ValueError, match="requires grad" if explainer.differentiable else "not differentiable"):
        explainer(small.model, small.x, small.target, create_graph=True)
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        explainer(copy.deepcopy(small.model).train(), small.x, small.target)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_give_finite_maps_and_derivatives(name: str, level: float, small: Subject) -> None:
    explainer = light(name)
    x = torch.full_like(small.x, level).requires_grad_()
    maps = explainer(small.model, x, small.target, create_graph=explainer.differentiable)
    assert maps.isfinite().all()
    if explainer.differentiable:
        (gradient,) = torch.autograd.grad(maps.square().sum(), x)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_ignores_its_input_gives_a_finite_map(name: str, small: Subject) -> None:
    dead = copy.deepcopy(small.model)
    with torch.no_grad():
        dead.get_submodule("classifier")[-1].weight.zero_()  # type: ignore[index,union-attr]
    explainer = light(name)
    x = small.x.clone().requires_grad_()
    maps = explainer(dead, x, small.target, create_graph=explainer.differentiable, generator=generator())
    assert maps.isfinite().all()
    if name not in ("constant", "random", "edges", "input", "sparsified-smoothgrad", "relex"):
        assert maps.abs().max() <= 1e-4
    if explainer.differentiable:
        assert torch.autograd.grad(maps.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_pixel_that_is_not_finite_makes_that_images_map_undefined_and_no_other(name: str, small: Subject) -> None:
    explainer = light(name)
    wanted = explainer(small.model, small.x, small.target, generator=generator())
    for bad in (float("nan"), float("inf")):
        x = small.x.clone()
        x[1, 0, 3, 3] = bad
        found = explainer(small.model, x, small.target, generator=generator())
        assert found[1].isnan().all()
        assert close(found[[0, 2]], wanted[[0, 2]], 1e-4)


@pytest.mark.parametrize("how", ["abs-sum", "sum", "abs-max"])
def test_reductions_are_what_they_say(how: str) -> None:
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for image, reduced in zip(maps.numpy(), reduce_map(maps, how).numpy(), strict=True):  # type: ignore[arg-type]
        for row in range(4):
            for column in range(4):
                values = [float(image[channel, row, column]) for channel in range(3)]
                expected = {"abs-sum": sum(map(abs, values)), "sum": sum(values), "abs-max": max(map(abs, values))}
                assert abs(expected[how] - reduced[row, column]) < 1e-6
