"""``differentiable``: Captum's own values, the derivative of unmodified Captum, and nothing left behind."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from captum import attr
from captum.attr._core import deep_lift
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from torch import Tensor, nn
from torch.nn import functional

from attrobust import differentiable, explainers, load

from helpers.by_hand import Softplus, apart, by_hand

pytestmark = pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning", "ignore:Input Tensor:UserWarning")


def flat(count: int) -> Tensor:
    """Images from black to white."""
    return torch.linspace(0, 1, count).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)


CASES: dict[str, tuple[Callable[[nn.Module], Any], dict[str, Any]]] = {
    "Saliency": (attr.Saliency, {"abs": False}),
    "Saliency-abs": (attr.Saliency, {}),
    "InputXGradient": (attr.InputXGradient, {}),
    "IntegratedGradients": (attr.IntegratedGradients, {"n_steps": 8}),
    "IntegratedGradients-chunked": (attr.IntegratedGradients, {"n_steps": 8, "internal_batch_size": 3}),
    "GradientShap": (
        attr.GradientShap,
        {"baselines": flat(3), "n_samples": 3},
    ),
    "DeepLift": (attr.DeepLift, {}),
    "DeepLiftShap": (attr.DeepLiftShap, {"baselines": flat(2)}),
    "GuidedBackprop": (attr.GuidedBackprop, {}),
    "Deconvolution": (attr.Deconvolution, {}),
    "GuidedGradCam": (lambda model: attr.GuidedGradCam(model, layer(model)), {}),
    "LayerGradCam": (lambda model: attr.LayerGradCam(model, layer(model)), {}),
    "LRP": (attr.LRP, {}),
    "LRP-rules": (lambda model: attr.LRP(with_rules(model)), {}),
    "SmoothGrad": (lambda model: attr.NoiseTunnel(attr.Saliency(model)), {"nt_samples": 3, "stdevs": 0.1}),
    "VarGrad": (
        lambda model: attr.NoiseTunnel(attr.IntegratedGradients(model)),
        {"nt_type": "vargrad", "nt_samples": 3, "stdevs": 0.1, "n_steps": 4},
    ),
    "Noise on DeepLift": (lambda model: attr.NoiseTunnel(attr.DeepLift(model)), {"nt_samples": 2, "stdevs": 0.1}),
    "FeatureAblation": (attr.FeatureAblation, {"feature_mask": (torch.arange(784) // 112).view(1, 1, 28, 28)}),
    "Occlusion": (attr.Occlusion, {"sliding_window_shapes": (1, 7, 7), "strides": 7}),
    "ShapleyValueSampling": (
        attr.ShapleyValueSampling,
        {"feature_mask": (torch.arange(784) // 196).view(1, 1, 28, 28), "n_samples": 2},
    ),
}


def with_rules(model: nn.Module) -> nn.Module:
    """Captum's rules, which Captum itself forgets after a call."""
    rules = {
        0: Alpha1_Beta0_Rule(),
        2: Alpha1_Beta0_Rule(set_bias_to_zero=True),
        5: GammaRule(0.5),
        7: EpsilonRule(0.1),
    }
    for index, rule in rules.items():
        model.get_submodule(f"features.{index}").rule = rule  # type: ignore[assignment]
    return model


FLOAT32 = {"Occlusion", "FeatureAblation", "ShapleyValueSampling"}
"""Captum adds these up in float32, so that central differences of them are only good to about 1e-4."""


def layer(model: nn.Module) -> nn.Module:
    """The second convolution of the second stage."""
    return model.get_submodule("features.7")


class Network(nn.Module):
    """conv-act-conv-act-pool twice and two linear layers, without the package's Normalize, so that Captum knows all."""

    def __init__(self, activation: Callable[[], nn.Module], pool: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), activation(), nn.Conv2d(6, 6, 3, padding=1), activation(), pool(2)),
            *(nn.Conv2d(6, 8, 3, padding=1), activation(), nn.Conv2d(8, 8, 3, padding=1), activation(), pool(2)),
        )
        self.hidden, self.act, self.out = nn.Linear(392, 16), activation(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.hidden(self.features(x).flatten(1))))


class Functional(nn.Module):
    """ReLU and max-pooling as functions, methods and in-place calls: nothing for Captum's hooks to see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.hidden, self.out = nn.Linear(392, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(functional.relu(self.conv1(x), inplace=True), 2)
        y = functional.max_pool2d(torch.relu(self.conv2(y)), kernel_size=2, stride=2)
        return self.out(self.hidden(y.flatten(1)).relu_())


class AsModules(nn.Module):
    """``Functional`` as its author should have written it."""

    def __init__(self, other: Functional) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(other.conv1, nn.ReLU(), nn.MaxPool2d(2), other.conv2, nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.hidden, self.act, self.out = other.hidden, nn.ReLU(), other.out

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.hidden(self.features(x).flatten(1))))


@pytest.fixture(scope="module")
def images(real_images: tuple[Tensor, Tensor]) -> Tensor:
    noise = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 0.98 * real_images[0][:2].double() + 0.01 * noise


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind().double().eval()


def network(name: str) -> nn.Module:
    """Average pooling, since Captum's DeepLift is not complete with max-pooling behind an activation."""
    activation = nn.ReLU if "LRP" in name or "DeepLift" in name else lambda: Softplus(3.0)
    return made(lambda: Network(activation, nn.AvgPool2d))


def seeded(call: Callable[[], Any]) -> Any:
    """With Captum's own random numbers, torch's and numpy's, as they come from one seed."""
    import numpy as np

    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            return call()
        finally:
            np.random.set_state(state)


def settings_of(name: str) -> dict[str, Any]:
    return {key: value.double() if isinstance(value, Tensor) and key == "baselines" else value
            for key, value in CASES[name][1].items()}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_are_captums_and_derivatives_those_of_unmodified_captum(name: str, images: Tensor) -> None:
    model, y, settings = network(name), torch.tensor([3, 5]), settings_of(name)
    explainer = CASES[name][0](model)

    def stock(x: Tensor) -> Tensor:
        # A copy of the network, since Captum's LRP writes to its weights.
        x, other = x.detach().clone().requires_grad_(), copy.deepcopy(model)
        return seeded(lambda: CASES[name][0](other).attribute(x, target=y, **settings)).detach()

    x = images.clone().requires_grad_()
    maps = seeded(lambda: differentiable(explainer).attribute(x, target=y, **settings))
    wanted = stock(images)
    assert (maps.detach() - wanted).abs().max() <= 1e-12 * wanted.abs().max()
    draw = torch.Generator().manual_seed(2)
    weights = torch.randn(maps.shape, generator=draw, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((maps * weights).sum(), x)
    h, tolerance = (1e-3, 3e-4) if name in FLOAT32 else (1e-7, 1e-5)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        slope = ((stock(images + h * direction) - stock(images - h * direction)) * weights).sum() / (2 * h)
        scale = (gradient * direction).abs().sum() + (wanted * weights).abs().sum()
        assert ((gradient * direction).sum() - slope).abs() <= tolerance * scale


def test_captum_by_itself_has_no_derivative_or_a_wrong_one(images: Tensor) -> None:
    """The reason for all this: without it the test above fails."""
    x, y, model = images.clone().requires_grad_(), torch.tensor([3, 5]), network("IntegratedGradients")
    assert not attr.Saliency(model).attribute(x, target=y).requires_grad
    stock = attr.IntegratedGradients(model).attribute(x, target=y, n_steps=8)
    exact = differentiable(attr.IntegratedGradients(model)).attribute(x, target=y, n_steps=8)
    wrong, right = (torch.autograd.grad(maps.square().sum(), x)[0] for maps in (stock, exact))
    assert functional.cosine_similarity(wrong.flatten(), right.flatten(), dim=0) < 0.999


def test_the_outer_backward_also_reaches_the_parameters(images: Tensor) -> None:
    model, y = network("Saliency"), torch.tensor([3, 5])
    x = images.clone().requires_grad_()
    maps = differentiable(attr.Saliency(model)).attribute(x, target=y, abs=False)
    maps.square().sum().backward()
    weight = model.get_parameter("features.0.weight")
    assert weight.grad is not None
    found, h = weight.grad[0, 0, 1, 1].clone(), 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 1, 1] += sign * h
        values.append(attr.Saliency(model).attribute(images.clone(), target=y, abs=False).square().sum())
        with torch.no_grad():
            weight[0, 0, 1, 1] -= sign * h
    assert abs(found - (values[0] - values[1]) / (2 * h)) <= 1e-5 * abs(found)


@pytest.mark.parametrize("kind", [attr.GuidedBackprop, attr.Deconvolution, attr.DeepLift])
def test_functional_activations_are_rewritten(kind: type, images: Tensor) -> None:
    model, y = made(Functional), torch.tensor([3, 5])
    x = images.clone().requires_grad_()
    found = differentiable(kind(model)).attribute(x, target=y)
    wanted = kind(apart(AsModules(copy.deepcopy(model)))).attribute(images.clone().requires_grad_(), target=y)  # type: ignore[arg-type]
    assert (found - wanted).abs().max() <= 1e-12 * wanted.abs().max()
    missed = kind(model).attribute(images.clone().requires_grad_(), target=y)
    assert (missed - wanted).abs().max() > 1e-3 * wanted.abs().max(), "Captum alone says nothing and is wrong"


def test_torchvisions_resnet18_is_explained_as_it_comes(images: Tensor) -> None:
    model, y = made(lambda: torchvision.models.resnet18(num_classes=10)), torch.tensor([3, 5])
    x = images.repeat(1, 3, 1, 1).requires_grad_()
    for explainer, oracle in (
        (attr.GuidedBackprop(model), attr.GuidedBackprop(by_hand(model))),
        (attr.DeepLift(model), attr.DeepLift(apart(model))),
    ):
        found = differentiable(explainer).attribute(x, target=y)
        wanted = oracle.attribute(x, target=y)
        assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()
    with pytest.raises(RuntimeError, match="used more than once"):
        attr.DeepLift(model).attribute(x, target=y)


def test_deeplift_is_complete_where_captums_is_not(images: Tensor) -> None:
    """Contributions sum to the difference of the logits: behind an activation, and with overlapping windows."""
    small = made(lambda: Network(nn.ReLU, nn.MaxPool2d))
    y = torch.tensor([3, 5])
    gaps = []
    for model, x in (
        (small, images),
        (made(lambda: torchvision.models.resnet18(num_classes=10)), images.repeat(1, 3, 1, 1)),
    ):
        wanted = (model(x) - model(torch.zeros_like(x))).gather(1, y[:, None])[:, 0].detach()
        maps = differentiable(attr.DeepLift(model)).attribute(x.clone().requires_grad_(), target=y)
        assert (maps.flatten(1).sum(dim=1) - wanted).abs().max() <= 1e-12 * maps.flatten(1).abs().sum(dim=1).max()
        if model is small:
            stock = attr.DeepLift(model).attribute(x.clone().requires_grad_(), target=y)
            gaps.append((stock.flatten(1).sum(dim=1) - wanted).abs().max() / wanted.abs().max())
    assert max(gaps) > 1e-2


@pytest.mark.parametrize("kind", [attr.DeepLift, attr.DeepLiftShap, attr.IntegratedGradients, attr.GuidedBackprop])
def test_derivatives_are_finite_on_relu_and_max_pooling_and_black_pixels(
    kind: type, real_images: tuple[Tensor, Tensor]
) -> None:
    x = real_images[0][:2].clone().requires_grad_()
    settings = {"baselines": torch.zeros(2, 1, 28, 28)} if kind is attr.DeepLiftShap else {}
    maps = differentiable(kind(load("digits/natural"))).attribute(x, target=torch.tensor([3, 5]), **settings)
    assert torch.autograd.grad(maps.square().sum(), x)[0].isfinite().all()


def test_threads_do_not_disturb_each_other(images: Tensor) -> None:
    """Some follow hooks, some have networks rewritten, some just run the network."""
    model, hidden, y = made(lambda: Network(nn.ReLU, nn.MaxPool2d)), made(Functional), torch.tensor([3, 5])

    def derivative(kind: type, network: nn.Module) -> Tensor:
        x = images.clone().requires_grad_()
        maps = differentiable(kind(network)).attribute(x, target=y)
        return torch.cat([maps.detach(), torch.autograd.grad(maps.square().sum(), x)[0]])

    def plain(_kind: type, network: nn.Module) -> Tensor:
        return network(images).detach()

    hooked = [(derivative, kind, model) for kind in (attr.GuidedBackprop, attr.DeepLift, attr.Saliency, attr.LRP)]
    rewritten = [(derivative, kind, hidden) for kind in (attr.GuidedBackprop, attr.Deconvolution, attr.DeepLift)]
    jobs = [*hooked, *rewritten, (plain, object, model), (plain, object, hidden)]
    alone = [job(kind, network) for job, kind, network in jobs]
    found: dict[int, list[Tensor]] = {}
    barrier = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        job, kind, network = jobs[i]
        barrier.wait()
        found[i] = [job(kind, network) for _ in range(8 if job is derivative else 80)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == list(range(len(jobs))), "no thread failed"
    assert all(torch.equal(tensor, alone[i]) for i in range(len(jobs)) for tensor in found[i])


def test_captum_model_and_explainer_are_left_as_they_were(images: Tensor) -> None:
    model, y = made(lambda: Network(nn.ReLU, nn.MaxPool2d)), torch.tensor([3, 5])
    rules, grad = dict(deep_lift.SUPPORTED_NON_LINEAR), torch.autograd.grad
    explainer = attr.DeepLift(model)
    state, modules = dict(vars(explainer)), [set(vars(module)) for module in model.modules()]
    before = explainer.attribute(images.clone().requires_grad_(), target=y)
    seen = []
    handle = model.features[0].register_forward_hook(lambda *_: seen.append(threading.get_ident()))
    maps = differentiable(explainer).attribute(images.clone().requires_grad_(), target=y)
    assert seen, "the network's own hooks run"
    handle.remove()
    assert rules == deep_lift.SUPPORTED_NON_LINEAR
    assert torch.autograd.grad is grad
    assert vars(explainer) == state
    assert [set(vars(module)) for module in model.modules()] == modules
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert torch.equal(explainer.attribute(images.clone().requires_grad_(), target=y), before)
    assert maps.requires_grad


def test_what_the_network_detaches_stays_detached(images: Tensor) -> None:
    class Gated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            gate = torch.sigmoid(x.detach().flatten(1).mean(dim=1, keepdim=True))
            with torch.no_grad():
                shift = x.flatten(1).square().sum(dim=1, keepdim=True)
            return (x.flatten(1)[:, :10] ** 3) * gate + shift

    x, y = images.clone().requires_grad_(), torch.tensor([3, 5])
    maps = differentiable(attr.InputXGradient(Gated())).attribute(x, target=y)
    gate = torch.sigmoid(images.flatten(1).mean(dim=1))
    pixels = images.flatten(1)[torch.arange(2), y]
    (gradient,) = torch.autograd.grad(maps.sum(), x)
    assert torch.allclose(gradient.flatten(1)[torch.arange(2), y], gate * 9 * pixels**2)
    assert torch.count_nonzero(gradient) <= 2


def test_what_cannot_be_done_is_said(images: Tensor) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 10).double()

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x.flatten(1))
            return functional.relu(y) if y.sum() > -1e9 else y

    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.act = nn.Linear(784, 10).double(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.linear(x.flatten(1))).clamp(max=3)

    x, y = images.clone().requires_grad_(), torch.tensor([3, 5])
    with pytest.raises(ValueError, match=r"function relu is called in Branching, .* cannot trace it: give every call"):
        differentiable(attr.GuidedBackprop(Branching())).attribute(x, target=y)
    with pytest.raises(ValueError, match="function clamp is called in Clamped and cannot be made a module"):
        differentiable(attr.DeepLift(Clamped())).attribute(x, target=y)
    with pytest.raises(ValueError, match="Network has no ReLU, so that Captum would return its plain gradient"):
        differentiable(attr.GuidedBackprop(made(lambda: Network(nn.Tanh, nn.AvgPool2d)))).attribute(x, target=y)
    with pytest.raises(ValueError, match=r"^Sequential has no ReLU"):
        tanh = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(784, 10)).double().eval()
        explainers.registry.get("guided-backprop")()(tanh, x, y)
    with pytest.raises(ValueError, match=r"contributions miss .* of what the logit changes"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(dim=1)).double()
        differentiable(attr.DeepLift(model)).attribute(x, target=y)
    with pytest.raises(ValueError, match="must be one tensor that requires grad"):
        differentiable(attr.Saliency(load("digits/natural"))).attribute(images, target=y)
    with pytest.raises(TypeError, match="Lime cannot be made differentiable; supported are Deconvolution, DeepLift"):
        differentiable(attr.Lime(load("digits/natural")))
    with pytest.raises(ValueError, match="LayerGradCam needs the network itself"):
        network = load("digits/natural").double()
        differentiable(attr.LayerGradCam(network.forward, layer(network))).attribute(x, target=y)
    with pytest.raises(ValueError, match="the layer Conv2d is not part of the model"):
        differentiable(attr.LayerGradCam(network, nn.Conv2d(1, 1, 1))).attribute(x, target=y)
