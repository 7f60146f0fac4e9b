"""Networks people write and ways they call: explained rightly or refused, never wrong in silence."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum import attr
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from torch.nn import functional

from attrobust import differentiable, load, softplus_model
from attrobust.benchmark.contract.transformer import small_transformer
from attrobust.benchmark.data.base import Loaded
from attrobust.explainers import registry
from attrobust.explainers.base import Explainer
from attrobust.explainers.deeplift import DeepLift
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.guided import Deconvolution, GuidedBackprop
from attrobust.explainers.ig import IG
from attrobust.explainers.lrp import LRP
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.explainers.smoothgrad import SmoothGrad, VarGrad
from attrobust.explainers.sparsified_smoothgrad import SparsifiedSmoothGrad
from attrobust.explainers.uniform_gradient import UniformGradient
from attrobust.networks.private_copy import private_copy
from attrobust.networks.probe import probe_for
from attrobust.networks.second_order import SecondOrder
from attrobust.types import ImageFacts

pytestmark = pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning", "ignore:Input Tensor:UserWarning")
HOOKING: list[Explainer] = [GuidedBackprop(), Deconvolution(), DeepLift(), GradCam(), LRP()]
TARGET = torch.tensor([1, 2])


@pytest.fixture
def x(real_images: tuple[Tensor, Tensor]) -> Tensor:
    """Two small real images."""
    return functional.avg_pool2d(real_images[0][:2].double(), 2)[:, :, 1:13, 1:13] + 0.01


def made(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


def small(*middle: nn.Module) -> nn.Module:
    """conv – middle – pool – linear."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *middle, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(144, 5))


class PreActivation(nn.Module):
    """A block whose shortcut is rectified too, since the ReLU before its convolution writes to what it is given."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=in_place), nn.Linear(144, 5)
        self.written = in_place

    def forward(self, x: Tensor) -> Tensor:
        v = self.stem(x)
        y = self.conv(self.relu(v)) + (v if self.written else v.relu())
        return self.head(functional.avg_pool2d(y, 2).flatten(1))


@pytest.mark.parametrize("explainer", HOOKING, ids=lambda e: type(e).__name__)
def test_in_place_operations_under_another_name_are_refused_where_they_cannot_be_kept(
    explainer: Explainer, x: Tensor
) -> None:
    model, plain = (made(lambda flag=flag: PreActivation(in_place=flag)) for flag in (True, False))
    assert torch.equal(model(x), plain(x))
    assert torch.equal(Saliency()(model, x, TARGET), Saliency()(plain, x, TARGET))
    for images in (x, x.abs() + 0.9):
        with pytest.raises(ValueError, match="changes a tensor in place and then uses it under another name"):
            explainer(model, images, TARGET)


class WritesToItsMap(nn.Module):
    """Doubles the last feature map, in place or not, after its module has returned it."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.conv, self.head, self.in_place = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(144, 5), in_place

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        maps = maps.mul_(2) if self.in_place else maps * 2
        return self.head(functional.avg_pool2d(maps, 2).flatten(1))


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradcam_sees_a_map_as_its_layer_returned_it(create_graph: bool, x: Tensor) -> None:
    model, plain = (made(lambda flag=flag: WritesToItsMap(in_place=flag)) for flag in (True, False))
    found = GradCam()(model, x.clone().requires_grad_(create_graph), TARGET, create_graph=create_graph)
    wanted = attr.LayerGradCam(plain, plain.conv).attribute(x, target=TARGET, relu_attributions=True)
    assert torch.equal(found[:, :, 0, 0], functional.interpolate(wanted, x.shape[2:], mode="bilinear")[:, :, 0, 0])
    assert found.abs().max() > 0


def test_a_softplus_model_keeps_in_place_operations(x: Tensor) -> None:
    model = made(lambda: PreActivation(in_place=True))
    assert torch.allclose(softplus_model(model, 1e5)(x), model(x), atol=1e-4)
    attached = x.clone().requires_grad_()
    maps = Saliency()(softplus_model(model, 5.0), attached, TARGET, create_graph=True)
    assert torch.autograd.grad(maps.square().sum(), attached)[0].abs().max() > 0


def test_parts_in_other_modes_keep_them_and_their_statistics(x: Tensor) -> None:
    net = made(lambda: small(nn.BatchNorm2d(4), nn.ReLU()))
    wrapped = nn.Sequential(nn.Identity(), net)
    net.eval()
    before = copy.deepcopy(net.state_dict())
    found = differentiable(attr.GuidedBackprop(wrapped)).attribute(x.clone().requires_grad_(), target=TARGET)
    assert torch.equal(found, attr.GuidedBackprop(net).attribute(x.clone().requires_grad_(), target=TARGET))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert wrapped.training


@pytest.mark.parametrize("explainer", [Saliency(), IG(steps=2), LRP()], ids=lambda e: type(e).__name__)
def test_a_part_in_training_mode_is_named(explainer: Explainer, x: Tensor) -> None:
    net = made(lambda: small(nn.BatchNorm2d(4), nn.ReLU()))
    net[1].train()  # type: ignore[index]
    with pytest.raises(ValueError, match="part '1' of the model is in training mode"):
        explainer(net, x, TARGET)


@pytest.mark.parametrize("name", registry.names())
def test_classes_are_one_for_each_image_in_any_integer_type(name: str, x: Tensor) -> None:
    facts = ImageFacts(channels=1, size=12, classes=5, mean=(0.1,), std=(0.3,))
    attentive = registry.get(name).needs_attention
    model = made(lambda: small_transformer(facts) if attentive else small(nn.ReLU()))
    settings = {"relex": {"steps": 1}, "kernel-shap": {"samples": 20}, "lime": {"samples": 20}}.get(name, {})
    explainer = registry.get(name)(**settings)
    wanted = explainer(model, x, TARGET)
    assert torch.equal(explainer(model, x, TARGET.int()), wanted)
    for wrong in (TARGET[:1], torch.tensor([1, 2, 3]), TARGET[:, None], torch.tensor(1), TARGET.double(), 1):
        with pytest.raises(ValueError, match="target must hold one class for each of the 2 images"):
            explainer(model, x, wrong)
    assert explainer(model, x[:0], TARGET[:0]).shape == x[:0].shape


def test_one_activation_under_two_names_is_replaced_under_both(x: Tensor) -> None:
    def shared() -> nn.Module:
        act = nn.Softplus(3.0)
        return small(act, nn.Conv2d(4, 4, 3, padding=1), act)

    apart = made(lambda: small(nn.Softplus(3.0), nn.Conv2d(4, 4, 3, padding=1), nn.Softplus(3.0)))
    found = GuidedBackprop()(made(shared), x, TARGET)
    assert torch.equal(found, GuidedBackprop()(apart, x, TARGET))
    relu = nn.ReLU()
    smoothed = softplus_model(nn.Sequential(nn.Conv2d(1, 1, 1), relu, nn.Conv2d(1, 1, 1), relu), 5.0)
    assert [type(module).__name__ for module in smoothed] == ["Conv2d", "Softplus"] * 2  # type: ignore[attr-defined]


class FunctionalSoftplus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.relu, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(576, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.softplus(self.b(self.relu(self.a(x))), beta=2.0).flatten(1))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("explainer", [GuidedBackprop(), Deconvolution(), DeepLift(), LRP()], ids=type)
def test_a_threshold_at_zero_is_a_relu(explainer: Explainer, inplace: bool, x: Tensor) -> None:
    def network(make: Callable[[], nn.Module]) -> nn.Module:
        return made(lambda: small(make(), nn.Conv2d(4, 4, 3, padding=1), make()))

    model, spelled = network(nn.ReLU), network(lambda: nn.Threshold(0.0, 0.0, inplace))
    expected = explainer(model, x, TARGET)
    assert not torch.equal(expected, Saliency()(model, x, TARGET)), "rules of its own are at work"
    torch.testing.assert_close(explainer(spelled, x, TARGET), expected, rtol=0, atol=0)
    assert all(isinstance(spelled[place], nn.Threshold) for place in (1, 3)), "the network itself is as it was"  # type: ignore[index]


def test_functional_softplus_is_the_rectifier_it_stands_for(x: Tensor) -> None:
    model: Any = made(FunctionalSoftplus)
    modules = nn.Sequential(model.a, model.relu, model.b, nn.Softplus(2.0), nn.Flatten(), model.head)
    assert torch.equal(GuidedBackprop()(model, x, TARGET), GuidedBackprop()(modules.eval(), x, TARGET))


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "operation",
    [
        *(nn.InstanceNorm2d(4), nn.LPPool2d(2, 1, 1), nn.Tanhshrink(), nn.LogSigmoid(), nn.GroupNorm(2, 4)),
        *(Applied(lambda v: v**2), Applied(torch.exp), Applied(lambda v: v * v.mean(dim=(2, 3), keepdim=True))),
        *(Applied(lambda v: v * torch.sigmoid(v)), Applied(lambda v: functional.softmax(v, dim=1))),
        *(Applied(lambda v: v * (v > 0)), Applied(lambda v: torch.max(v, torch.zeros_like(v)))),
    ],
    ids=lambda m: type(m).__name__,
)
def test_deeplift_refuses_what_it_has_no_rule_for(operation: nn.Module, x: Tensor) -> None:
    model = made(lambda: small(operation, nn.Conv2d(4, 4, 3, padding=1)))
    with pytest.raises(
        ValueError, match=r"contributions miss .* of what the logit changes|cannot be made a module|trace"
    ):
        DeepLift()(model, x, TARGET)


def test_the_derivative_is_that_of_the_network_as_it_was_explained(x: Tensor) -> None:
    net = made(lambda: small(nn.BatchNorm2d(4), nn.Softplus()))
    found = []
    for size in (1, 1 << 40):
        attached = x.clone().requires_grad_()
        with memory_budget(size):
            maps = SmoothGrad(samples=3)(net.eval(), attached, TARGET, create_graph=True)
        statistics = copy.deepcopy(net.state_dict())
        net.train()
        found.append(torch.autograd.grad(maps.square().sum(), attached)[0])
        assert all(torch.equal(value, statistics[key]) for key, value in net.state_dict().items())
        assert net[1].training  # type: ignore[index]
    assert torch.allclose(*found, rtol=1e-9)


def test_a_chunk_that_is_computed_again_has_no_convolutions_for_weights_that_are_constant(x: Tensor) -> None:
    """Attacks differentiate after the mode has ended that spares them. A depthwise layer has one for each channel."""
    net = made(lambda: small(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Softplus())).requires_grad_(False)
    calls, found = [], []
    for size in (1, 1 << 40):
        attached = x.clone().requires_grad_()
        with memory_budget(size), SecondOrder():
            maps = SmoothGrad(samples=3)(net, attached, TARGET, create_graph=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            found += torch.autograd.grad(maps.square().sum(), attached)
        calls.append({event.key for event in profile.key_averages()})
    assert all("aten::_convolution_double_backward" not in names for names in calls)
    assert torch.allclose(*found, rtol=1e-9)


def test_a_second_derivative_of_a_chunked_map_is_refused(x: Tensor) -> None:
    net, attached = made(lambda: small(nn.Softplus())), x.clone().requires_grad_()
    with memory_budget(1):
        maps = SmoothGrad(samples=3)(net, attached, TARGET, create_graph=True)
    with pytest.raises(RuntimeError, match="one derivative only"):
        torch.autograd.grad(maps.square().sum(), attached, create_graph=True)


def test_results_kept_by_bound_hooks_are_refused(x: Tensor) -> None:
    class Collecting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Linear(576, 5)
            self.relu.register_forward_hook(self.save)

        def save(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.kept = output

        def forward(self, x: Tensor) -> Tensor:
            self.relu(self.conv(x))
            return self.head(self.kept.flatten(1))

    model = made(Collecting)
    with torch.no_grad():
        model(x + 1)
    with pytest.raises(ValueError, match="cannot be"):
        GuidedBackprop()(model, x, TARGET)


def test_parts_without_gradient_are_not_given_one(x: Tensor) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1), nn.Linear(576, 5)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                gate = self.a(x)
            return self.head((functional.relu(self.c(x)) * gate).flatten(1))

    for explainer in (GuidedBackprop(), LRP()):
        with pytest.raises(ValueError, match="cannot trace"):
            explainer(made(Gated), x, TARGET)


def test_captums_rules_of_pooling_are_read(x: Tensor) -> None:
    for pool in (nn.AvgPool2d(2), nn.MaxPool2d(2)):

        def model(pool: nn.Module = pool) -> Any:
            net: Any = made(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), pool, nn.Conv2d(4, 5, 5)))
            net[2].rule = EpsilonRule(0.5)

            class Flat(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.net = net

                def forward(self, x: Tensor) -> Tensor:
                    return self.net(x).flatten(1)

            return Flat().eval()

        wanted = attr.LRP(model()).attribute(x.clone().requires_grad_(), target=TARGET)
        found = differentiable(attr.LRP(model())).attribute(x.clone().requires_grad_(), target=TARGET)
        assert (found - wanted).abs().max() <= 1e-9 * wanted.abs().max()


def test_captums_ways_to_name_an_output_are_understood(x: Tensor) -> None:
    model = made(lambda: small(nn.ReLU()))
    lrp = differentiable(attr.LRP(model))
    attached = x.clone().requires_grad_()
    last = lrp.attribute(attached, target=4)
    for target in (-1, torch.tensor([4, 4], dtype=torch.int32), torch.tensor([4, -1])):
        assert torch.equal(lrp.attribute(attached, target=target), last)
    with pytest.raises(ValueError, match="target must say which of the 5 outputs"):
        lrp.attribute(attached)
    with pytest.raises(ValueError, match="networks of one argument"):
        differentiable(attr.DeepLift(model)).attribute(attached, target=1, additional_forward_args=(1,))
    maps, delta = differentiable(attr.DeepLift(model)).attribute(attached, target=1, return_convergence_delta=True)
    assert delta.abs().max() <= 1e-12
    assert maps.shape == x.shape


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.get(name).stochastic])
def test_draws_are_the_same_in_either_precision(name: str, x: Tensor) -> None:
    model = made(lambda: small(nn.Softplus(3.0)))
    settings = {"relex": {"steps": 3}, "kernel-shap": {"samples": 20}, "lime": {"samples": 20}}.get(name, {})
    explainer = registry.get(name)(**settings)
    exact = explainer(model, x, TARGET)
    rounded = explainer(copy.deepcopy(model).float(), x.float(), TARGET).double()
    assert functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.999


def test_a_variance_of_nothing_is_nothing_in_float32(x: Tensor) -> None:
    model, images = made(small).float(), x.float()
    scale = float(Saliency()(model, images, TARGET).square().max())
    assert VarGrad()(model, images, TARGET).abs().max() <= 1e-10 * scale


def test_nothing_is_certain_of_an_image_that_is_not_finite(x: Tensor) -> None:
    model, broken = made(lambda: small(nn.ReLU())), x.clone()
    broken[0, 0, 0, 0] = float("nan")
    with torch.no_grad():
        top = SparsifiedSmoothGrad().certify(model, broken, TARGET, radius=0.0, samples=200)
        cosine = UniformGradient(unit=True).certify(model, broken, TARGET, radius=0.0, samples=200)
    assert top.overlap[0] == 0 < top.overlap[1]
    assert cosine.cosine[0] == -1 < cosine.cosine[1]
    for settings in ({"radius": -0.1}, {"radius": 0.1, "confidence": 1.0}):
        for explainer in (SparsifiedSmoothGrad(), UniformGradient(unit=True)):
            with pytest.raises(ValueError, match=r"must be 0 or more|must be between 0 and 1"):
                explainer.certify(model, x, TARGET, **settings)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="ball=L2 must be linf or l2"):
        UniformGradient(ball="L2")  # type: ignore[arg-type]


def test_hooks_on_an_activation_stay_with_what_takes_its_place(x: Tensor) -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    hooked: Any = made(lambda: small(nn.Softplus(3.0)))
    hooked[1].register_forward_hook(lambda _module, _inputs, output: output * 2)
    plain = made(lambda: small(nn.Sequential(nn.Softplus(3.0), Doubled())))
    wanted = GuidedBackprop()(plain, x, TARGET)
    assert (GuidedBackprop()(hooked, x, TARGET) - wanted).abs().max() <= 1e-12 * wanted.abs().max()


def test_recording_hooks_see_tensors_only(x: Tensor) -> None:
    model: Any = made(lambda: nn.Sequential(small(nn.ReLU())))
    seen: list[str] = []
    model[0].register_forward_hook(lambda _module, _inputs, output: seen.append(type(output).__name__))
    LRP()(model, x, TARGET)
    assert set(seen) == {"Tensor"}


def test_what_cannot_be_copied_is_said(x: Tensor) -> None:
    model = made(lambda: small(nn.ReLU()))
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"Sequential cannot be copied \(cannot pickle '_thread.lock' object\)"):
        GuidedBackprop()(model, x, TARGET)


@pytest.mark.parametrize("kind", [attr.GuidedBackprop, attr.DeepLift, attr.LRP])
def test_statistics_of_a_network_in_training_mode_are_not_touched(kind: type, x: Tensor) -> None:
    net: Any = made(lambda: small(nn.BatchNorm2d(4), nn.ReLU()))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="a BatchNorm2d of the model is in training mode"):
        differentiable(kind(net.train())).attribute(x.clone().requires_grad_(), target=TARGET)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Amplifying(nn.Module):
    """Computes image by image, but turns the rounding of float32 into other outputs: sin(1e7 w·x)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.act, self.last = nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.last(self.act(torch.sin(1e7 * self.linear(x.flatten(1)))))
        return values


class Mixing(Amplifying):
    """Subtracts the mean image of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 1e-3 * x.mean(dim=0, keepdim=True))


def test_rounding_that_a_network_amplifies_is_told_from_mixing_the_images_of_a_batch(digits: Loaded) -> None:
    images = digits.splits["test"].batch(range(2))[0]
    model = made(Amplifying).float()
    probe = probe_for(model, images)
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in probe])
    assert (model(probe) - alone).abs().max() > 1e-2 * alone.abs().max(), "float32 alone cannot tell"
    private_copy(model, images)
    GuidedBackprop()(model, images, torch.tensor([3, 5]))
    with pytest.raises(ValueError, match="mixes the images of a batch"):
        private_copy(made(Mixing).float(), images)


def test_a_network_is_tried_with_pixels_that_images_have(digits: Loaded) -> None:
    images = digits.splits["test"].batch(range(2))[0]
    probe = probe_for(load("digits/natural"), images)
    assert torch.equal(probe[0], images[0])
    assert float(probe.min()) >= 0
    assert float(probe.max()) <= 1
