"""Layer-wise relevance propagation against Captum, zennit, finite differences and its own identities."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator

import captum.attr
import pytest
import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule, PropagationRule
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet18

from attrobust.explainers.lrp import LRP
from attrobust.networks.passes import counted
from attrobust.networks.smoothed import Normalize
from attrobust.networks.tracing import traced

from helpers.stock_lrp import STOCK
from helpers.vectors import vectors

RULES = ["epsilon", "epsilon-plus", "gamma", "box"]
MEAN, STD = (0.5, 0.375, 0.25), (0.25, 0.1875, 0.3125)


class Plain(nn.Module):
    """Max- and average-pooling; flattened by a method, since Captum has no rule for ``nn.Flatten``."""

    def __init__(
        self, activation: Callable[[], nn.Module] = nn.ReLU, *, bias: bool = True, normalize: bool = True
    ) -> None:
        super().__init__()
        self.normalize = Normalize(MEAN, STD) if normalize else Normalize((0, 0, 0), (1, 1, 1))
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=bias)
        self.act1 = activation()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=bias)
        self.act2 = activation()
        self.pool2 = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(32, 10, bias=bias)
        self.act3 = activation()
        self.fc2 = nn.Linear(10, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        a = self.pool1(self.act1(self.conv1(self.normalize(x))))
        a = self.pool2(self.act2(self.conv2(a))).flatten(1)
        return self.fc2(self.act3(self.fc1(a)))


class Residual(nn.Module):
    """Batch normalisation, a shortcut, one with a convolution, in-place and reused activations."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize(MEAN, STD)
        self.relu = nn.ReLU(inplace=True)
        for i, (inputs, outputs, kernel, stride) in enumerate(
            [(3, 6, 3, 1), (6, 6, 3, 1), (6, 8, 3, 2), (8, 8, 3, 1), (6, 8, 1, 2)], start=1
        ):
            self.add_module(f"conv{i}", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(outputs))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.bn1(self.conv1(self.normalize(x))))
        b = self.bn2(self.conv2(a))
        b += a
        a = self.relu(b)
        b = self.bn4(self.conv4(self.relu(self.bn3(self.conv3(a)))))
        return self.fc(F.relu(torch.add(self.bn5(self.conv5(a)), b), inplace=True).mean((2, 3)))


def seeded(model: nn.Module) -> nn.Module:
    """The model in float64 with random weights and statistics."""
    draw = torch.Generator().manual_seed(3)
    for name, tensor in model.double().eval().state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
            fan = max(1, tensor[0].numel()) if tensor.dim() else 1
            tensor.copy_(noise.abs() + 0.5 if "var" in name else noise * (2 / fan) ** 0.5 / (1 if fan > 1 else 5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data += 1
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def target() -> Tensor:
    return torch.tensor([0, 3, 1])


def off(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).abs().max() / wanted.abs().max()).detach())


def captum_lrp(model: nn.Module, x: Tensor, target: Tensor, convolution: Callable[[], PropagationRule]) -> Tensor:
    """Stock Captum: epsilon 1e-6 in dense layers and average-pooling, and the winner alone in max-pooling."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.rule = convolution()
            module.rule.STABILITY_FACTOR = 1e-6
        elif isinstance(module, nn.MaxPool2d):
            # Captum's max-pooling loses a share epsilon / a of what the winner a receives; zennit's and ours does not.
            module.rule = EpsilonRule(1e-30)
        elif isinstance(module, Normalize):
            module.rule = IdentityRule()
        elif isinstance(module, (nn.Linear, nn.AvgPool2d)):
            module.rule = EpsilonRule(1e-6)
    return captum.attr.LRP(model).attribute(x.requires_grad_(), target=target).detach()


def test_epsilon_is_captums(x: Tensor, target: Tensor) -> None:
    model = seeded(Plain())
    assert off(LRP(rule="epsilon")(model, x, target), captum_lrp(model, x, target, lambda: EpsilonRule(1e-6))) < 1e-12


def test_gamma_is_captums_where_inputs_are_positive_and_convolutions_have_no_bias(x: Tensor, target: Tensor) -> None:
    # Captum enlarges positive weights whatever the sign of the input, and leaves the bias as it is.
    model = seeded(Plain(normalize=False))
    model.conv1.bias = model.conv2.bias = None
    assert off(LRP(rule="gamma")(model, x, target), captum_lrp(model, x, target, lambda: GammaRule(0.25))) < 1e-12


def test_epsilon_plus_is_captums_where_inputs_and_biases_are_positive(x: Tensor, target: Tensor) -> None:
    # Captum counts positive weights whatever the sign of the input, and negative biases too.
    model = seeded(Plain(normalize=False))
    for layer in (model.conv1, model.conv2):
        layer.bias.data.abs_()
    assert off(LRP()(model, x, target), captum_lrp(model, x, target, Alpha1_Beta0_Rule)) < 1e-12


def zennit_case(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    stored = vectors("zennit_lrp")
    model = Residual() if name == "residual" else Plain(nn.Tanh if name == "tanh" else nn.ReLU)
    prefix = "residual." if name == "residual" else "plain."
    state = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    assert model.double().load_state_dict(state, strict=False).unexpected_keys == []
    return model.eval(), stored


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["plain", "tanh", "residual"])
def test_every_rule_is_zennits(name: str, rule: str) -> None:
    model, stored = zennit_case(name)
    found = LRP(rule=rule)(model, stored["x"], stored["target"])
    assert off(found, stored[f"maps.{name}.{rule}"]) < 1e-9


def unlike(kind: str) -> nn.Module:
    return {"relu": Plain, "softplus": lambda: Plain(lambda: nn.Softplus(beta=3)), "residual": Residual}[kind]()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["relu", "softplus", "residual"])
def test_the_derivative_is_that_of_finite_differences_in_every_pixel(
    kind: str, rule: str, x: Tensor, target: Tensor
) -> None:
    model, explainer = seeded(unlike(kind)), LRP(rule=rule)
    weights = torch.randn(x[:1].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = x[:1].clone().requires_grad_()
    (found,) = torch.autograd.grad((explainer(model, image, target[:1], create_graph=True) * weights).sum(), image)
    steps = 1e-6 * torch.eye(image.numel(), dtype=torch.float64).view(-1, *x.shape[1:])
    above, below = (
        (explainer(model, image.detach() + sign * steps, target[:1].expand(len(steps))) * weights).sum(dim=(1, 2, 3))
        for sign in (1, -1)
    )
    assert found.abs().max() > 1e-3
    assert off(found.flatten(), (above - below) / 2e-6) < 1e-5


def test_the_derivative_with_respect_to_weights_is_exact(x: Tensor, target: Tensor) -> None:
    model, explainer = seeded(Residual()), LRP(rule="gamma")
    attached = x.requires_grad_()
    for parameter in (model.conv2.weight, model.bn2.weight, model.bn4.bias, model.fc.weight):
        (found,) = torch.autograd.grad(explainer(model, attached, target, create_graph=True).pow(2).sum(), parameter)
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        moved = []
        for step in (1e-6, -2e-6):
            parameter.data += step * direction
            moved.append(explainer(model, x, target).pow(2).sum())
        parameter.data += 1e-6 * direction
        wanted = (moved[0] - moved[1]) / 2e-6
        assert abs((found * direction).sum() - wanted) < 1e-5 * abs(wanted)


@pytest.mark.parametrize("rule", RULES)
def test_a_flat_image_has_finite_maps_and_derivatives(rule: str, target: Tensor) -> None:
    # Without normalisation and biases every output is 0 for a black image: all of its quotients are 0 / 0.
    for model, level in itertools.product((seeded(Plain(bias=False, normalize=False)), seeded(Residual())), (0.0, 0.5)):
        x = torch.full((3, 3, 8, 8), level, dtype=torch.float64, requires_grad=True)
        maps = LRP(rule=rule)(model, x, target, create_graph=True)
        (gradient,) = torch.autograd.grad(maps.sum(), x)
        assert maps.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("rule", RULES)
def test_without_biases_relevance_is_conserved(rule: str, x: Tensor, target: Tensor) -> None:
    model = seeded(Plain(bias=False))
    logits = model(x).gather(1, target[:, None])[:, 0]
    found = LRP(rule=rule, epsilon=1e-12)(model, x, target).sum(dim=(1, 2, 3))
    assert off(found, logits) < 1e-8


@pytest.mark.parametrize("kind", ["relu", "residual"])
def test_on_relu_networks_epsilon_is_input_times_gradient_in_normalised_units(
    kind: str, x: Tensor, target: Tensor
) -> None:
    model = seeded(unlike(kind))
    attached = x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(attached).gather(1, target[:, None]).sum(), attached)
    wanted = (x - model.normalize.mean) * gradient
    assert off(LRP(rule="epsilon", epsilon=1e-12)(model, x, target), wanted.detach()) < 1e-8


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return seeded(resnet18(num_classes=10))


@pytest.fixture
def colour_images(real_images: tuple[Tensor, Tensor]) -> Tensor:
    return real_images[0][:3].double().repeat(1, 3, 1, 1)


def test_torchvisions_resnet18_is_explained_as_it_is(resnet: nn.Module, colour_images: Tensor, target: Tensor) -> None:
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    listing = [(name, type(module), getattr(module, "inplace", None)) for name, module in resnet.named_modules()]
    found = LRP()(resnet, colour_images, target)
    assert off(found, STOCK["lrp"](resnet, colour_images, target, torch.Generator())) < 1e-9
    assert off(LRP()(resnet, colour_images[1:2], target[1:2])[0], found[1]) < 1e-9
    assert all(torch.equal(value, resnet.state_dict()[name]) for name, value in before.items())
    assert listing == [
        (name, type(module), getattr(module, "inplace", None)) for name, module in resnet.named_modules()
    ]


def test_trained_networks_get_the_sums_written_out(network: nn.Module, real_images: tuple[Tensor, Tensor]) -> None:
    model, x = copy.deepcopy(network).double(), real_images[0].double()
    target = model(x).argmax(dim=1)
    assert off(LRP()(model, x, target), STOCK["lrp"](model, x, target, torch.Generator())) < 1e-9


@pytest.mark.parametrize("rule", RULES)
def test_batch_normalisation_after_a_convolution_is_part_of_it(rule: str, x: Tensor, target: Tensor) -> None:
    model = seeded(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4)))
    fused = nn.Sequential(fuse_conv_bn_eval(model[0], model[1]), *model[2:]).eval()
    assert off(LRP(rule=rule)(model, x, target), LRP(rule=rule)(fused, x, target)) < 1e-12


def test_batch_normalisation_elsewhere_shares_as_a_layer_with_one_input_and_a_bias(x: Tensor, target: Tensor) -> None:
    model = seeded(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4)))
    norm, _, layer = model
    z = norm(x)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(1, 3, 1, 1)
    logits = model(x).gather(1, target[:, None])
    received = z * layer.weight[target].view_as(x) * (logits / (logits + 1e-6 * logits.sign())).view(3, 1, 1, 1)
    wanted = x * scale * received / (z + 1e-6 * z.sign())
    assert off(LRP()(model, x, target), wanted.detach()) < 1e-12


class Functional(nn.Module):
    """``Plain`` with functions and methods, some of them in place, in place of modules."""

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        plain = self.plain
        a = F.dropout(F.max_pool2d(torch.relu_(plain.conv1(plain.normalize(x))), 2), training=self.training)
        a = F.adaptive_avg_pool2d(F.avg_pool2d(plain.conv2(a).relu_(), 1), 2)
        a = F.relu(plain.fc1(a.view(a.size(0), -1)), inplace=True)
        return plain.fc2(a)


@pytest.mark.parametrize("rule", RULES)
def test_functions_have_the_rules_of_their_modules(rule: str, x: Tensor, target: Tensor) -> None:
    plain = seeded(Plain())
    found = LRP(rule=rule, epsilon=1e-9)(Functional(plain).eval(), x, target)
    assert off(found, LRP(rule=rule, epsilon=1e-9)(plain, x, target)) < 1e-6


def test_each_image_counts_as_one_forward_pass(x: Tensor, target: Tensor) -> None:
    model = seeded(Residual())
    with counted(model) as passes:
        LRP()(model, x, target)
        assert passes.forward == 3
        LRP()(model, x.requires_grad_(), target, create_graph=True).sum().backward()
        assert (passes.forward, passes.backward) == (6, 3)
        traced(model)(x)
    assert passes.forward == 9
    assert not model._forward_pre_hooks


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "alpha"}, "rule=alpha must be one of epsilon, epsilon-plus, gamma, box"),
        ({"epsilon": 0.0}, "epsilon=0 must be"),
        ({"epsilon": float("nan")}, "epsilon=nan must be"),
        ({"gamma": -0.1}, "gamma=-0.1 must be"),
        ({"gamma": float("inf")}, "gamma=inf must be"),
    ],
)
def test_settings_outside_their_range_are_errors(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LRP(**settings)


class Applied(nn.Module):
    """A linear layer after some function of the image."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.head = function, nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(x).flatten(1))


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "transpose": lambda x: x.transpose(1, 3),
    "permute": lambda x: torch.permute(x, (0, 2, 3, 1)),
    "items": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
}


@pytest.mark.parametrize("move", MOVES)
def test_relevance_goes_back_to_where_values_were_moved_from(move: str, x: Tensor, target: Tensor) -> None:
    network, alone = Applied(MOVES[move]).double().eval(), Applied(nn.Identity()).double().eval()
    alone.head = network.head
    moved, back = torch.func.vjp(MOVES[move], x)[:2]
    torch.testing.assert_close(LRP()(network, x, target), back(LRP()(alone, moved, target))[0])


def test_a_part_of_what_is_split_has_no_rule(x: Tensor, target: Tensor) -> None:
    def swapped(x: Tensor) -> Tensor:
        parts = x.chunk(2, dim=2)
        return torch.cat([parts[1], parts[0]], dim=2)

    with pytest.raises(ValueError, match=r"no rule for node 'getitem\w*' \(getitem\)"):
        LRP()(Applied(swapped).double().eval(), x, target)


class OwnLinear(nn.Linear):
    """A class derived from one of torch, which torch.fx looks into; so are the two below."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, bias=self.bias)


class OwnConvolution(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps))


def in_a_row(linear: type[nn.Linear], convolution: type[nn.Conv2d], norm: Callable[[int], nn.Module]) -> nn.Module:
    """Norms after a convolution and after an activation."""
    return nn.Sequential(
        *(Normalize(MEAN, STD), convolution(3, 6, 3, padding=1, bias=False), norm(6), norm(6)),
        *(convolution(6, 6, 3, stride=2, padding=1, groups=2), norm(6), nn.Flatten(), linear(96, 4)),
    )


@pytest.mark.parametrize("rule", RULES)
def test_layers_that_are_called_as_functions_have_the_rules_of_modules(rule: str, x: Tensor, target: Tensor) -> None:
    def norm(channels: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())

    torch.manual_seed(0)
    modules = in_a_row(nn.Linear, nn.Conv2d, norm).double().train()
    modules(x)  # Statistics of images, so that a norm is not the identity.
    functions = in_a_row(OwnLinear, OwnConvolution, OwnNorm).double()
    weights = zip(functions.state_dict().values(), modules.state_dict().values(), strict=True)
    for own, theirs in weights:
        own.copy_(theirs)
    lrp = LRP(rule=rule)  # type: ignore[arg-type]
    wanted, found = (lrp(network.eval(), x, target) for network in (modules, functions))
    assert wanted.abs().max() > 0
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def changed_under_another_name(x: Tensor) -> Tensor:
    y = x * 1
    z = y
    z += 1
    return y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x * x.sigmoid(), "no rule for node 'mul' (mul); it knows Conv2d"),
        (nn.Softmax(dim=1), "no rule for node 'function' (Softmax); it knows Conv2d"),
        (lambda x: x if x.sum() > 0 else -x, "torch.fx cannot trace Applied"),
        (changed_under_another_name, "uses it under another name"),
        (nn.BatchNorm2d(3, track_running_stats=False), "it mixes the images of a batch"),
    ],
)
def test_what_has_no_rule_is_named(function: Callable[[Tensor], Tensor], words: str, x: Tensor, target: Tensor) -> None:
    with pytest.raises(ValueError) as caught:
        LRP()(Applied(function).double().eval(), x, target)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_box_rule_needs_a_layer_that_reads_the_image(x: Tensor, target: Tensor) -> None:
    with pytest.raises(ValueError, match="rule box needs a first layer that reads the normalised image, not 'sigmoid'"):
        LRP(rule="box")(Applied(torch.sigmoid).double().eval(), x, target)


class Keeper(nn.Module):
    """Keeps what it saw, as some networks do, and has a constant that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.relu(x + torch.tensor([1.0]))


def test_tracing_leaves_the_model_as_it_was(x: Tensor) -> None:
    model = nn.Sequential(Keeper(), nn.Sequential(Keeper()), nn.BatchNorm2d(3)).double().eval()
    calls: list[type] = []
    handles = [
        module.register_forward_hook(lambda module, _, __: calls.append(type(module))) for module in model.modules()
    ]
    wanted = model(x.requires_grad_())
    before = [dict(vars(module)) for module in model.modules()]
    count = len(calls)
    graph = traced(model)
    assert all(dict(vars(module)) == old for module, old in zip(model.modules(), before, strict=True))
    assert torch.equal(graph(x), wanted)
    assert len(calls) > count
    assert {id(parameter) for parameter in graph.parameters()} == {id(parameter) for parameter in model.parameters()}
    graph.get_submodule("2").register_forward_hook(lambda *_: None)
    assert [len(module._forward_hooks) for module in model.modules()] == [1] * len(handles)
    assert not any(getattr(module, "inplace", False) for module in graph.modules())
    assert any(getattr(module, "inplace", False) for module in model.modules())


def test_a_traced_network_can_be_traced(x: Tensor) -> None:
    model = seeded(Residual())
    again = traced(traced(model))
    assert isinstance(again, fx.GraphModule)
    assert torch.equal(again(x), model(x))


def leaves(graph: fx.GraphModule) -> Iterator[str]:
    yield from (
        type(graph.get_submodule(str(node.target))).__name__ for node in graph.graph.nodes if node.op == "call_module"
    )


def test_normalize_is_one_node() -> None:
    assert list(leaves(traced(Plain())))[:2] == ["Normalize", "Conv2d"]


def test_a_forward_that_tracing_would_not_see_is_an_error() -> None:
    model = Plain()
    model.forward = lambda x: x.flatten(1)
    with pytest.raises(ValueError, match="forward set on the object"):
        traced(model)
