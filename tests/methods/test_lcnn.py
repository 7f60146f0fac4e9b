"""Low-curvature networks: numbers of the official code, and what the rest of the harness makes of such a network."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attrobust.attacks.base import Context
from attrobust.attacks.topk import TopK
from attrobust.benchmark.checkpoints.holders import read_weights
from attrobust.benchmark.checkpoints.state_dict import load_weights
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.models.resnet import ResNet18
from attrobust.benchmark.training.loop import fresh_network, save_tensors
from attrobust.explainers.base import Explainer
from attrobust.explainers.captum_engine.lrp_rules import Layer, Norm
from attrobust.explainers.deeplift import DeepLift
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.guided import GuidedBackprop
from attrobust.explainers.lrp import LRP
from attrobust.explainers.saliency import Saliency
from attrobust.methods.lcnn import LCNN, inverse_temperature, slope
from attrobust.networks.low_curvature import CentredSoftplus, LipschitzBatchNorm, SpectralNorm
from attrobust.networks.passes import counted
from attrobust.networks.smoothed import is_smooth, shared_copy
from attrobust.types import Cost, ImageFacts

from helpers.vectors import tiny_network, vectors

SMALL = LeNet(width=8, hidden=16)
GRADIENT_ONLY = LCNN(lam_beta=0, lam_gamma=0, lam_grad=1e-3, variant="paper")


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-6) -> None:
    # Gradients of biases before a batch normalisation are zero but for rounding.
    assert (found.detach() - wanted).abs().max() <= tolerance * wanted.abs().max() + 1e-12


def check_gradients(network: nn.Module, data: dict[str, Tensor], prefix: str, names: Callable[[str], str]) -> None:
    checked = set()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        key = names(name)
        wanted = {
            kind: data[f"{prefix}_{kind}.{key}"]
            for kind in ("grad", "grad_l2", "grad_sum")
            if f"{prefix}_{kind}.{key}" in data
        }
        close(parameter.grad.norm(), wanted["grad_l2"])
        assert (parameter.grad.sum() - wanted["grad_sum"]).abs() <= 1e-6 * parameter.grad.abs().sum() + 1e-12
        if "grad" in wanted:
            close(parameter.grad, wanted["grad"])
        checked |= {f"{prefix}_{kind}.{key}" for kind in wanted}
    assert checked == {key for key in data if key.startswith(f"{prefix}_grad") and "." in key}


def test_the_activation_is_that_of_the_official_code() -> None:
    data = vectors("lcnn")
    cases = [key.removesuffix("_in") for key in data if key.startswith("psp_") and key.endswith("_in")]
    assert cases
    for case in cases:
        activation = CentredSoftplus(1.0).double()
        beta = torch.tensor(float(case.removeprefix("psp_beta")), dtype=torch.float64)
        activation.log_beta = nn.Parameter(beta.log())
        out = activation(data[f"{case}_in"])
        close(out, data[f"{case}_out"])
        out.sum().backward()
        close(activation.log_beta.grad, data[f"{case}_dlogbeta"])


def test_the_spectral_norm_is_that_of_the_official_code() -> None:
    data = vectors("lcnn")
    weight = data["S.conv1.weight"]
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=1).double()
    norm = SpectralNorm(convolution, tuple(data["snorm_v0"].shape[1:])).train()
    norm.load_state_dict({"u": data["snorm_u0"], "v": data["snorm_v0"]})
    close(norm(weight), data["snorm_out"])
    close(norm.norm(weight), data["snorm_sigma"])


def network_l(data: dict[str, Tensor]) -> nn.Module:
    (wide, channels), (wider, _) = (data[f"L.{i}.conv.weight"].shape[:2] for i in (0, 2))
    (classes, features) = data["L.5.weight"].shape
    network = nn.Sequential(
        *(nn.Conv2d(channels, wide, 3, padding=1), LipschitzBatchNorm(nn.BatchNorm2d(wide)), CentredSoftplus()),
        *(nn.Conv2d(wide, wider, 3, stride=2, padding=1), LipschitzBatchNorm(nn.BatchNorm2d(wider)), CentredSoftplus()),
        *(nn.Flatten(), nn.Linear(features, classes)),
    ).double()
    network.load_state_dict({key: data[official(key)] for key in network.state_dict()})
    return network


def official(key: str) -> str:
    """An entry of the state dict of network L under the name the official code has for it."""
    place, _, name = key.partition(".")
    kind = {"0": "0.conv", "1": "0.bn", "2": "1", "3": "2.conv", "4": "2.bn", "5": "3", "7": "5"}[place]
    return f"L.{kind}.{name}".replace("bn.log_gamma", "log_lipschitz")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("case", ["lossc", "losscg"])
def test_loss_terms_and_gradients_are_those_of_the_official_code(case: str, mode: str) -> None:
    data, prefix = vectors("lcnn"), f"{case}_{mode}"
    method = LCNN(lam_beta=1e-2, lam_gamma=1e-2, lam_grad=1e-3 if case == "losscg" else 0.0, variant="paper")

    def loss(method: LCNN, network: nn.Module) -> Tensor:
        return method.loss(network.train(mode == "train"), data["x"], data["y"], torch.Generator())

    plain = dataclasses.replace(method, lam_beta=0.0, lam_gamma=0.0, lam_grad=0.0)
    close(loss(plain, network_l(data)), data[f"{prefix}_ce"])
    if case == "losscg":
        unit = dataclasses.replace(plain, lam_grad=1.0)
        close(loss(unit, network_l(data)) - data[f"{prefix}_ce"], data[f"{prefix}_gradnorm"])
    network = network_l(data)
    total = loss(method, network)
    close(total, data[f"{prefix}_loss"])
    close(inverse_temperature(network), data[f"{prefix}_beta_term"])
    close(slope(network), data[f"{prefix}_gamma_term"])
    total.backward()
    check_gradients(network, data, prefix, lambda name: official(name).removeprefix("L."))
    close(network.eval()(data["x"]), data[f"{prefix}_logits_again_eval"])


@pytest.mark.parametrize(("name", "activation"), [("S", lambda: nn.Softplus(3)), ("R", nn.ReLU)])
def test_the_gradient_term_alone_is_that_of_the_official_code(name: str, activation: Callable[[], nn.Module]) -> None:
    data, prefix = vectors("lcnn"), f"gradreg_{name}"
    network = tiny_network(data, "S", activation)
    total = GRADIENT_ONLY.loss(network, data["x"], data["y"], torch.Generator())
    close(total, data[f"{prefix}_loss"])
    close((total - data[f"{prefix}_ce"]) / 1e-3, data[f"{prefix}_gradnorm"])
    total.backward()
    check_gradients(network, data, prefix, str)


def test_the_corrected_term_is_the_papers_at_128_images_and_does_not_depend_on_their_number(digits: Loaded) -> None:
    model = fresh_network(LCNN(), SMALL, digits, seed=0).double().eval()
    x, y = digits.splits["train"].batch(range(64))
    x = x.double()

    def term(method: LCNN, copies: int) -> float:
        plain = dataclasses.replace(method, lam_grad=0.0)
        batch = x.repeat(copies, 1, 1, 1), y.repeat(copies)
        losses = [one.loss(model, *batch, torch.Generator()).detach() for one in (method, plain)]
        return float(losses[0] - losses[1])

    corrected, paper = LCNN(), LCNN(variant="paper")
    assert term(corrected, 2) == pytest.approx(term(paper, 2), rel=1e-9)
    assert term(corrected, 1) == pytest.approx(term(corrected, 2), rel=1e-9)
    assert term(paper, 1) == pytest.approx(4 * term(paper, 2), rel=1e-9)


@pytest.mark.parametrize(
    "settings",
    [{"padding": 1}, {"padding": 1, "stride": 2}, {"stride": 2, "kernel_size": 1}, {"dilation": 2, "groups": 2}],
    ids=str,
)
def test_the_spectral_norm_tends_to_the_largest_singular_value(settings: dict[str, int]) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 4, **({"kernel_size": 3} | settings), bias=False).double()  # type: ignore[arg-type]
    shape = (2, 6, 6)
    norm = SpectralNorm(convolution, shape)
    norm.iterate(convolution.weight, 2000)
    basis = torch.eye(2 * 6 * 6, dtype=torch.float64).view(-1, *shape)
    matrix = convolution(basis).flatten(1)
    close(norm.norm(convolution.weight), torch.linalg.matrix_norm(matrix, 2).detach(), 1e-9)
    normalised = torch.func.functional_call(convolution, {"weight": norm.eval()(convolution.weight)}, basis)
    close(torch.linalg.matrix_norm(normalised.flatten(1), 2), torch.ones((), dtype=torch.float64), 1e-9)


def test_a_batch_normalisation_has_no_slope_above_gamma() -> None:
    norm = LipschitzBatchNorm(nn.BatchNorm2d(3), gamma=0.5).double().eval()
    norm.running_var.copy_(torch.tensor([0.01, 1.0, 100.0]))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(x).sum(), x)
    assert float(gradient.max()) == pytest.approx(0.5, rel=1e-3)
    with torch.no_grad():
        norm.log_gamma.fill_(100.0)
    assert torch.allclose(norm(x), nn.functional.batch_norm(x, norm.running_mean, norm.running_var))


def facts(channels: int, size: int) -> ImageFacts:
    return ImageFacts(channels=channels, size=size, classes=10, mean=(0.5,) * channels, std=(0.25,) * channels)


def prepared(family: ModelFamily, shape: ImageFacts, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LCNN(linear=True).prepare(family.build(shape))


@pytest.fixture(params=["lenet", "resnet18"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    """A prepared network that has seen a few batches, evaluating."""
    network = prepared(SMALL if request.param == "lenet" else ResNet18(), facts(3, 16)).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, 3, 16, 16))
    return network.eval()


def test_resnet18_becomes_smooth_and_every_layer_is_normalised() -> None:
    network = prepared(ResNet18(), facts(3, 32))
    assert is_smooth(network)
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(CentredSoftplus) == 17
    assert kinds.count(LipschitzBatchNorm) == kinds.count(SpectralNorm) == 20
    assert nn.BatchNorm2d not in kinds
    convolution = network.get_submodule("layer2.0.conv1.parametrizations.weight.0")
    assert isinstance(convolution, SpectralNorm)
    assert (convolution.v.shape, convolution.u.shape) == ((1, 64, 32, 32), (1, 128, 16, 16))
    x, y = torch.rand(4, 3, 32, 32), torch.arange(4)
    loss = LCNN().loss(network.train(), x, y, torch.Generator())
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    tracked = [module.num_batches_tracked for module in network.modules() if isinstance(module, LipschitzBatchNorm)]
    assert {int(count) for count in tracked if count is not None} == {1}


@pytest.mark.parametrize("method", [LCNN(), LCNN(lam_grad=0.0)])
def test_a_step_costs_what_is_said(method: LCNN, digits: Loaded) -> None:
    model = fresh_network(method, SMALL, digits, seed=0).train()
    with counted(model, weights=True) as passes:
        method.loss(model, *digits.splits["train"].batch(range(4)), torch.Generator()).backward()
    assert Cost(passes.forward / 4, passes.backward / 4, passes.double_backward / 4) == method.cost(10)


def test_weights_are_those_of_other_methods_and_vectors_those_of_the_seed(digits: Loaded) -> None:
    def start(seed: int) -> dict[str, Tensor]:
        return fresh_network(LCNN(), SMALL, digits, seed).state_dict()

    plain = SMALL.build(facts(1, 28))
    first, again, other = start(0), start(0), start(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(
        first["features.0.parametrizations.weight.0.u"], other["features.0.parametrizations.weight.0.u"]
    )
    assert first["features.0.parametrizations.weight.original"].shape == plain.state_dict()["features.0.weight"].shape


def test_weight_decay_leaves_inverse_temperature_and_slope_alone() -> None:
    network = prepared(ResNet18(), facts(3, 16))
    free = {name.rpartition(".")[2] for name, _ in network.named_parameters() if not LCNN().decays(name)}
    assert free == {"log_beta", "log_gamma"}


def test_a_state_dict_makes_another_network_this_one(model: nn.Module, tmp_path: Path) -> None:
    family = ResNet18() if hasattr(model, "layer1") else SMALL
    other, x = prepared(family, facts(3, 16), seed=1), torch.rand(2, 3, 16, 16)
    assert not torch.equal(other.eval()(x), model(x))
    save_tensors(tmp_path / "weights.pt", model.state_dict())
    load_weights(other, read_weights(tmp_path / "weights.pt")[0], "weights.pt")
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, shared_copy])
def test_copies_are_the_same_function(model: nn.Module, duplicate: Callable[[nn.Module], nn.Module]) -> None:
    x = torch.rand(2, 3, 16, 16)
    double = duplicate(model)
    assert torch.equal(double(x), model(x))
    shared = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept = [id(tensor) in shared for tensor in (*double.parameters(), *double.buffers())]
    assert all(kept) if duplicate is shared_copy else not any(kept)
    before = copy.deepcopy(model).train()
    assert torch.equal(duplicate(before).train()(x), copy.deepcopy(model).train()(x))


@pytest.mark.parametrize("explainer", [Saliency(), LRP(), DeepLift(), GuidedBackprop(), GradCam()], ids=str)
def test_explaining_and_attacking_change_nothing(
    model: nn.Module, explainer: Explainer, make_context: Callable[..., Context]
) -> None:
    before, x = copy.deepcopy(model.state_dict()), torch.rand(2, 3, 16, 16)
    context = make_context(model.requires_grad_(False), explainer, x)
    y = context.predict(x)
    attack = TopK(steps=2)
    kept = [type(module) for module in attack.differentiated(context, x).network.modules()]
    assert kept.count(CentredSoftplus) == sum(isinstance(module, CentredSoftplus) for module in model.modules()) > 0
    assert attack(context, x, y).passes.backward > 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_guided_backpropagation_takes_the_activation_for_a_rectifier(model: nn.Module) -> None:
    x, y = torch.rand(2, 3, 16, 16), torch.zeros(2, dtype=torch.int64)
    guided = copy.deepcopy(model)
    for module in guided.modules():
        if isinstance(module, CentredSoftplus):
            module.register_full_backward_hook(lambda _module, inputs, _outputs: (inputs[0].clamp_min(0),))
    assert torch.allclose(GuidedBackprop()(model, x, y), Saliency()(guided, x, y), atol=1e-6)
    assert not torch.allclose(GuidedBackprop()(model, x, y), Saliency()(model, x, y), atol=1e-6)


def test_relevance_sees_the_slope_of_a_batch_normalisation() -> None:
    convolution, norm = nn.Conv2d(3, 4, 3), LipschitzBatchNorm(nn.BatchNorm2d(4), gamma=0.1)
    for _ in range(2):
        norm(torch.randn(8, 4, 5, 5))
    x = torch.randn(2, 3, 6, 6)
    layer = Layer.of(convolution).then(Norm.of(norm.eval()))
    assert torch.allclose(layer(x), norm(convolution(x)), atol=1e-6)
    assert norm.gain() < 0.5


def test_networks_that_cannot_be_prepared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image_shape = \(C, H, W\)"):
        LCNN().prepare(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    with pytest.raises(ValueError, match=r"needs nn\.ReLU activations"):
        LCNN().prepare(LeNet(activation="softplus").build(facts(1, 8)))
    for settings in ({"lam_gamma": -1.0}, {"lam_grad": -1.0}, {"gamma": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            LCNN(**settings)  # type: ignore[arg-type]
