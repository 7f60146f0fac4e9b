"""Activations written as functions are the same to attacks and metrics as those written as modules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import attacks, explainers, load
from attrobust.attacks.base import Context
from attrobust.attacks.engine.differentiated import activation_displacements, call_name, smoothed_model
from attrobust.explainers.guided import GuidedBackprop
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.shared.derivatives import second_order
from attrobust.networks.forward_only import ForwardOnly
from attrobust.networks.reused import calls_apart
from attrobust.networks.smoothed import PIECEWISE_LINEAR, softplus_model
from attrobust.networks.spelled import MODULES, Call, function_kinks
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]

X = torch.linspace(-7.3, 7.1, 96, dtype=torch.float64).view(1, 2, 6, 8)
CALLS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "F.relu": (F.relu, "ReLU"),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), "ReLU"),
    "torch.relu": (torch.relu, "ReLU"),
    "torch.relu by keyword": (lambda x: torch.relu(input=x), "ReLU"),
    "relu_": (lambda x: x.relu_(), "ReLU"),
    "clamp(min=0)": (lambda x: x.clamp(min=0), "ReLU"),
    "clamp_min": (lambda x: torch.clamp_min(x, 0.0), "ReLU"),
    "clamp(0, 6)": (lambda x: torch.clamp(x, 0, 6), "Hardtanh"),
    "F.relu6": (F.relu6, "ReLU6"),
    "F.hardtanh": (lambda x: F.hardtanh(x, -2.0, 3.0), "Hardtanh"),
    "F.leaky_relu": (lambda x: F.leaky_relu(x, 0.2), "LeakyReLU"),
    "F.leaky_relu in place": (lambda x: F.leaky_relu(x, 0.2, True), "LeakyReLU"),
    "F.rrelu": (F.rrelu, "LeakyReLU"),
    "F.prelu": (lambda x: F.prelu(x, torch.tensor([0.1, 0.3], dtype=x.dtype)), "PReLU"),
    "F.hardswish": (F.hardswish, "Hardswish"),
    "F.hardsigmoid": (F.hardsigmoid, "Hardsigmoid"),
    "torch.clip": (lambda x: torch.clip(x, 0), "ReLU"),
    "F.threshold": (lambda x: F.threshold(x, 0.0, 0.0), "ReLU"),
    "F.max_pool2d": (lambda x: F.max_pool2d(x, 2), "MaxPool2d"),
    "F.max_pool2d with a stride": (lambda x: F.max_pool2d(x, 3, stride=1, padding=1), "MaxPool2d"),
}
NONE: dict[str, Callable[[Tensor], Tensor]] = {
    "a guard of a division": lambda x: x / x.norm().clamp(min=1e-6),
    "a bound from above": lambda x: x.clamp(max=5),
    "F.gelu": F.gelu,
    "an activation module": nn.ReLU(),
    "a pooling module": nn.MaxPool2d(2),
}

REWRITING = ("deeplift", "guided-backprop", "lrp")
"""Explainers that set hooks on modules, or have a rule for every operation."""


class Calls(nn.Module):
    """A network of one call."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x + 0)


class Function(nn.Module):
    """The same as a module of torch, by a function of torch."""

    def __init__(self, call: Callable[..., Tensor], *settings: object, **more: object) -> None:
        super().__init__()
        self.call, self.settings, self.more = call, settings, more

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, *self.settings, **self.more)


def spelled(network: nn.Module, which: Callable[[int], bool], *, inplace: bool = False) -> nn.Module:
    """A copy of a sequence of layers with some of its activations and poolings as functions."""
    count, layers = 0, []
    for layer in network:  # type: ignore[attr-defined]
        if isinstance(layer, (nn.ReLU, nn.MaxPool2d)):
            relu = Function(F.relu, inplace=inplace)
            function = relu if isinstance(layer, nn.ReLU) else Function(F.max_pool2d, layer.kernel_size)
            layers.append(function if which(count) else layer)
            count += 1
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_a_function_is_found_and_its_module_computes_the_same(name: str) -> None:
    call, kind = CALLS[name]
    network = Calls(call).eval()
    assert function_kinks(network, X) == (kind,)
    hot = smoothed_model(network, {call_name(0): 1e-7}, beta=None, pool=None, inverse_temperature=1.0, functions=1)
    # At a temperature near zero the smoothed model is the network; at another it is not.
    assert torch.allclose(hot.network(X), network(X), atol=1e-5)
    warm = smoothed_model(network, {}, beta=1.0, pool=1.0, inverse_temperature=1.0, functions=1)
    assert not torch.allclose(warm.network(X), network(X), atol=1e-3)
    warm.cool(1e7)
    assert torch.allclose(warm.network(X), network(X), atol=1e-5)
    attached = X.clone().requires_grad_()
    warm.cool(1.0)
    (gradient,) = torch.autograd.grad(warm.network(attached).sum(), attached, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), attached)
    assert second.abs().max() > 1e-3


@pytest.mark.parametrize("name", NONE)
def test_what_has_no_kink_of_its_own_is_left_alone(name: str) -> None:
    assert function_kinks(Calls(NONE[name]).eval(), X) == ()


def test_every_function_of_the_table_makes_a_module_with_a_kink() -> None:
    settings: dict[object, tuple[object, ...]] = {
        F.max_pool2d: (2,),
        torch.max_pool2d: (2,),
        F.prelu: (torch.ones(1),),
        torch.prelu: (torch.ones(1),),
        F.threshold: (0.0, 0.0),
        F.threshold_: (0.0, 0.0),
        torch.threshold: (0.0, 0.0),
    }
    for func in MODULES:
        clamps = "cl" in func.__name__
        module = Call(func, (X, *settings.get(func, (0,) if clamps else ())), {}).module
        assert isinstance(module, (*PIECEWISE_LINEAR, nn.MaxPool2d)), func


def shared(network: nn.Module) -> nn.Module:
    """The same sequence of layers with one ReLU and one pooling, which are called again and again."""
    relu, pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
    kinds = {nn.ReLU: relu, nn.MaxPool2d: pool}
    return nn.Sequential(*(kinds.get(type(layer), layer) for layer in network.children())).eval()


SPELLINGS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "all are functions": lambda layers: spelled(layers, lambda _: True),
    "every other is a function": lambda layers: spelled(layers, lambda number: number % 2 == 0),
    "one module is called again": shared,
    "one module is called again, beside functions": lambda layers: shared(spelled(layers, lambda number: number < 2)),
}


@pytest.mark.parametrize("name", ["topk", "direct", "target"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_same_weights_in_another_spelling_are_attacked_alike(
    name: str,
    spelling: str,
    real_images: tuple[Tensor, Tensor],
    make_context: ContextMaker,
) -> None:
    x, y = real_images[0][:4], real_images[1][:4]
    layers = plain()
    attack = attacks.registry.get(name)(steps=6)
    found = []
    for one in (layers, SPELLINGS[spelling](layers)):
        context = make_context(one, Saliency(), x, threat=ThreatModel(eps=16 / 255))
        assert torch.equal(one(x), layers(x))
        found.append(attack(context, x, y).x)
    assert (found[0] - x).abs().max() > 0.03
    assert (found[0] - found[1]).abs().max() < 1e-4


@pytest.mark.parametrize("inplace", [False, True], ids=["", "in place"])
@pytest.mark.parametrize("name", REWRITING)
def test_explainers_that_rewrite_networks_are_attacked_alike_in_another_spelling(
    name: str, inplace: bool, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = real_images[0][:2], real_images[1][:2]
    layers = plain()
    found = []
    for one in (layers, spelled(layers, lambda _: True, inplace=inplace)):
        context = make_context(one, explainers.registry.get(name)(), x, threat=ThreatModel(eps=16 / 255))
        with ForwardOnly():
            found.append(attacks.registry.get("topk")(steps=3)(context, x, y).x)
    assert (found[0] - x).abs().max() > 0.01
    assert (found[0] - found[1]).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(name for name, (_, kind) in CALLS.items() if kind != "MaxPool2d"))
def test_no_activation_is_hidden_from_guided_backpropagation(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    """Its rule is set on modules, and without them it would be the plain gradient."""
    x, y = real_images[0][:2], real_images[1][:2]
    call, kind = CALLS[name]
    torch.manual_seed(0)
    before, after = nn.Conv2d(1, 2, 5, 3), nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 8, 10))
    network = nn.Sequential(before, Calls(call), after).eval()
    try:
        maps = GuidedBackprop()(network, x, y)
    except ValueError as error:
        assert "cannot be made a module" in str(error)
        return
    assert kind == "ReLU"
    assert torch.allclose(maps, GuidedBackprop()(nn.Sequential(before, nn.ReLU(), after).eval(), x, y))


@pytest.mark.parametrize("kind", [*PIECEWISE_LINEAR, nn.MaxPool2d])
def test_every_module_that_is_called_again_is_smooth_at_every_call(kind: type[nn.Module]) -> None:
    def made() -> nn.Module:
        return kind(*{nn.MaxPool2d: (3, 1, 1), nn.Threshold: (0.0, 0.0)}.get(kind, ()))

    again = made()
    for between in (Half(), nn.Sequential(Half(), Half())):
        one, other = nn.Sequential(again, between, again).eval(), nn.Sequential(made(), between, made()).eval()
        functions = calls_apart(one, X.float())
        assert calls_apart(other, X.float()) is other
        assert torch.equal(functions(X.float()), one(X.float()))
        count = len(function_kinks(functions, X.float()))
        assert count == 2
        smooth = smoothed_model(functions, {}, beta=2.0, pool=2.0, inverse_temperature=1.0, functions=count).network
        twin = smoothed_model(other, {}, beta=2.0, pool=2.0, inverse_temperature=1.0).network
        assert torch.allclose(smooth(X.float()), twin(X.float()), atol=1e-6)
        assert not torch.allclose(smooth(X.float()), one(X.float()), atol=1e-3)


def test_a_pooling_that_returns_places_is_kept() -> None:
    network = Calls(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)).eval()
    assert function_kinks(network, X) == ()


class HalfReLU(nn.ReLU):
    """Computes something else than the class of torch that it is derived from."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class PaddedPool(nn.MaxPool2d):
    """As above; timm has a pooling like it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), self.kernel_size, self.stride)


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def test_classes_derived_from_torchs_are_attacked_as_what_they_compute(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = real_images[0][:4], real_images[1][:4]
    found = []
    for activation, pool in (
        (HalfReLU(), PaddedPool(2)),
        (nn.Sequential(nn.ReLU(), Half()), nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2))),
    ):
        torch.manual_seed(0)
        one = nn.Sequential(nn.Conv2d(1, 6, 5, 2), activation, pool, nn.Flatten(), nn.Linear(6 * 6 * 6, 10)).eval()
        context = make_context(one, Saliency(), x, threat=ThreatModel(eps=16 / 255))
        smoothed = attacks.registry.get("topk")().differentiated(context, x).network
        found.append((one(x), smoothed(x), attacks.registry.get("topk")(steps=6)(context, x, y).x))
    for mine, spelled_out in zip(*found, strict=True):
        assert (mine - spelled_out).abs().max() < 1e-4
    assert (found[0][0] - found[0][1]).abs().max() > 1e-3


def test_softplus_does_not_stand_for_a_class_that_computes_something_else() -> None:
    with pytest.raises(ValueError, match="not smooth: HalfReLU"):
        softplus_model(nn.Sequential(nn.Flatten(), HalfReLU(), nn.Linear(784, 10)), 1.0)


def test_the_displacements_of_functions_are_those_of_modules() -> None:
    layers = plain()
    other, like = spelled(layers, lambda _: True), next(layers.parameters())
    by_module, by_call = (
        activation_displacements(one, ThreatModel(eps=0.1), torch.Size([1, 28, 28]), like) for one in (layers, other)
    )
    assert list(by_call) == [call_name(number) for number in range(len(by_module))]
    assert list(by_call.values()) == pytest.approx(list(by_module.values()))


def test_the_curvature_of_a_logit_is_undefined_in_both_spellings(real_images: tuple[Tensor, Tensor]) -> None:
    x, y = real_images[0][:2], real_images[1][:2]
    layers = plain()
    for one in (layers, spelled(layers, lambda _: True), spelled(layers, lambda number: number == 0)):
        _, product = second_order(one, x, y, "logit")
        assert product(torch.ones_like(x)).isnan().all()


def plain() -> nn.Sequential:
    """A trained network as one sequence of layers."""
    return nn.Sequential(*_flat(load("digits/natural"))).eval()


def _flat(network: nn.Module) -> list[nn.Module]:
    """The layers of a sequential network, of whatever depth."""
    children = list(network.children())
    return [layer for child in children for layer in _flat(child)] if children else [network]
