"""Training losses of the official codes, reproduced in float64 for the same weights, images and noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from attrobust.methods.advgrad import AdvGrad
from attrobust.methods.art import Art
from attrobust.methods.atex import Atex
from attrobust.methods.base import Batch
from attrobust.methods.cure import Cure
from attrobust.methods.input_gradient import InputGradient
from attrobust.methods.jacobian import Jacobian
from attrobust.methods.r2et import R2ET
from attrobust.methods.ssr import SSR, largest_eigenvalues
from attrobust.methods.trades import Trades, divergence
from attrobust.networks.smoothed import Normalize, softplus_model
from attrobust.types import Amount

from helpers.vectors import close, close_gradients, tiny_network, vectors

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def softplus() -> nn.Module:
    return nn.Softplus(beta=3)


ACTIVATIONS = {"S": softplus, "R": nn.ReLU}


def seeded(data: dict[str, Tensor], key: str) -> torch.Generator:
    return torch.Generator().manual_seed(int(data[key]))


def behind_cifar(network: nn.Module) -> nn.Module:
    """The network with CIFAR-10's normalisation in float64 in front of it."""
    normalize = Normalize(CIFAR_MEAN, CIFAR_STD).double()
    normalize.mean = torch.tensor(CIFAR_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    normalize.std = torch.tensor(CIFAR_STD, dtype=torch.float64).view(1, 3, 1, 1)
    return nn.Sequential(normalize, network).eval()


@pytest.mark.parametrize("net", ["S", "R"])
def test_input_gradient_with_the_weight_that_lcnns_code_gives_its_batch(net: str) -> None:
    data = vectors("lcnn")
    network, size = tiny_network(data, "S", ACTIVATIONS[net]), len(data["x"])
    loss = InputGradient(lam=1e-3 * 1e5 / size**2).loss(network, data["x"], data["y"], torch.Generator())
    close(loss, data[f"gradreg_{net}_loss"])
    loss.backward()
    close_gradients(network, data, f"gradreg_{net}_grad")


@pytest.mark.parametrize("net", ["S", "R"])
@pytest.mark.parametrize(("case", "projections"), [("n1", 1), ("n3", 3), ("nexact", 0)])
def test_jacobian(net: str, case: str, projections: int) -> None:
    data = vectors("jacobian_reg")
    network = tiny_network(data, "S", ACTIVATIONS[net])
    generator = seeded(data, f"{net}_{case}_seed") if projections else torch.Generator()
    x = data["x"].clone().requires_grad_()
    penalty = Jacobian(projections=projections).penalty(network, network(x), x, generator)
    close(penalty, data[f"{net}_{case}_R"])
    penalty.backward()
    close_gradients(network, data, f"{net}_{case}_grad")


@pytest.mark.parametrize(("case", "h"), [("h0p1", 0.1), ("h3", 3.0)])
def test_cure(case: str, h: float) -> None:
    data = vectors("cure")
    network = tiny_network(data, "S", softplus)
    method = Cure(lam=4.0, h=h)
    x = data["x"].clone().requires_grad_()
    loss = nn.functional.cross_entropy(network(x), data["y"], reduction="sum")
    close(method.direction(torch.autograd.grad(loss, x)[0]), data[f"{case}_sumred_z"])
    penalty = method.lam * method.penalty(network, data["x"], data["y"])
    close(penalty, data[f"{case}_sumred_reg"])
    penalty.backward()
    # The last bias moves no input gradient but through the probabilities.
    close_gradients(network, data, f"{case}_sumred_grad")


@pytest.mark.parametrize("net", ["S", "R"])
def test_ssr(net: str) -> None:
    data = vectors("ssr")
    network = tiny_network(data, "S", ACTIVATIONS[net])
    x = data["x"].clone().requires_grad_()
    logits = network(x)
    close(logits, data[f"{net}_f64_logits"])
    values = largest_eigenvalues(logits, x)
    close(values, data[f"{net}_f64_penalty_each"])
    total = SSR(alpha=0.3, scale=0.3).loss(network, data["x"], data["y"], torch.Generator())
    close(total, data[f"{net}_f64_total_vec"].mean())
    values.mean().backward()
    close_gradients(network, data, f"{net}_f64_penalty_grad")


@pytest.mark.parametrize("net", ["S", "R"])
@pytest.mark.parametrize(
    ("case", "settings"),
    [("linf", {"eps": 0.031, "step": 0.003}), ("l2", {"norm": "l2", "eps": 0.5, "step": 2 * 0.5 / 10})],
)
def test_trades(net: str, case: str, settings: dict[str, object]) -> None:
    data = vectors("trades")
    network = tiny_network(data, "S", ACTIVATIONS[net])
    method = Trades(beta=6.0, **settings)  # type: ignore[arg-type]
    generator = seeded(data, f"{net}_{case}_seed")
    if case == "l2":
        torch.randn(data["x"].shape, generator=generator, dtype=torch.float64)  # The official code draws twice.
    moved = method.adversarial(network, data["x"], data["y"], generator)
    close(moved, data[f"{net}_{case}_x_adv"])
    apart = divergence(network(moved), network(data["x"])) / len(moved)
    close(apart, data[f"{net}_{case}_robust"])
    loss = method.loss_at(network, data["x"], moved, data["y"])
    close(loss, data[f"{net}_{case}_loss"])
    loss.backward()
    close_gradients(network, data, f"{net}_{case}_grad")


@pytest.mark.parametrize("training", ["fast", "iterative"])
@pytest.mark.parametrize(
    ("penalty", "suffix", "eps", "eps2"),
    [("l1", "", 0.01, 0.05), ("elastic", "", 0.01, 0.05), ("elastic", "_b", 0.03, 2.0)],
)
def test_advgrad(penalty: str, suffix: str, eps: float, eps2: float, training: str) -> None:
    data = vectors("gong")
    network = tiny_network(data, next(key.partition(".")[0] for key in data if key.endswith(".fc.bias")), softplus)
    step = 0.3 if penalty == "elastic" else None
    method = AdvGrad(
        penalty=penalty,  # type: ignore[arg-type]
        training=training,  # type: ignore[arg-type]
        eps=eps,
        eps2=eps2,
        step=step,
        variant="paper",
    )
    moved = method.adversarial(network, data["x"], data["y"])
    close(moved, data[f"{penalty}_{training}{suffix}"])
    loss = method.loss(network, data["x"], data["y"], torch.Generator())
    close(loss, nn.functional.cross_entropy(network(data[f"{penalty}_{training}{suffix}"]), data["y"]))
    if not suffix:
        close(loss, data[f"ce_adv_{penalty}_{training}"])


def test_advgrad_harmonized() -> None:
    data = vectors("gong")
    network = tiny_network(data, next(key.partition(".")[0] for key in data if key.endswith(".fc.bias")), softplus)
    method = AdvGrad(penalty="harmonized", eps=0.5, variant="paper")
    close(method.adversarial(network, data["x"], data["y"], data["gaze"]), data["harm_x"])


@pytest.mark.parametrize("training", ["fast", "iterative"])
@pytest.mark.parametrize(("case", "eps"), [("eps03", 0.3), ("eps001", 0.01)])
def test_advgrad_by_groups(case: str, eps: float, training: str) -> None:
    data = vectors("gong_group")
    # The last layer is a formula of the file's seed, which its first columns give away.
    rows, columns = torch.arange(1, 6, dtype=torch.float64)[:, None], torch.arange(1, 6273, dtype=torch.float64)[None]
    weights = [3 * torch.sin(0.7 * rows * columns + seed) / math.sqrt(6272) for seed in range(3)]
    (last,) = [weight for weight in weights if torch.allclose(weight[:, :8], data["fc.weight_head"], atol=1e-12)]
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 4, 3, 2, 1))
    network.add_module("act1", softplus())
    network.add_module("conv2", nn.Conv2d(4, 8, 3, 4, 1))
    network.add_module("act2", softplus())
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(6272, 5))
    stored = {key.removeprefix("G."): value for key, value in data.items() if key.startswith("G.")}
    network.double().load_state_dict({**stored, "fc.weight": last})
    x = data["img_u8"].double() / 255
    close(network(x), data["logits"])
    method = AdvGrad(penalty="group", training=training, eps=eps, step=1.0, variant="paper")  # type: ignore[arg-type]
    moved = method.adversarial(network, x, data["y"])
    delta, key = moved - x, f"{'fast' if training == 'fast' else 'iterative'}_{case}"
    close(moved.flatten()[data["idx"]], data[f"{key}_entries"])
    close(delta[0].reshape(3, 16, 14, 16, 14).square().sum(dim=(2, 4)).sqrt(), data[f"{key}_patchnorm"])
    close(delta.abs().sum(), data[f"{key}_abssum"])
    close(nn.functional.cross_entropy(network(moved), data["y"]), data[f"{key}_ce"])


@pytest.mark.parametrize("case", ["id", "cn"])
@pytest.mark.parametrize("steps", [1, 3])
def test_arts_inner_steps(case: str, steps: int) -> None:
    data = vectors("art_loss_attack")
    prefix = next(key.partition(".")[0] for key in data if key.endswith(".fc.bias"))
    network = tiny_network(data, prefix, nn.ReLU)
    model = behind_cifar(network) if case == "cn" else network
    size = data["x"][0].numel()
    method = Art(steps=steps, k=Amount(round(size * 250 / 768), False))
    smoothed = softplus_model(model, 50.0)
    moved = method.adversarial(model, smoothed, data["x"], data["y"], seeded(data, "seed"))
    wanted = data[f"{case}_x_adv_{steps}"]
    # A gradient entry within rounding of zero may step the other way.
    assert ((moved - wanted).abs() > 1e-9).sum() <= 3


def test_a_whole_step_of_art() -> None:
    data = vectors("art_step")
    network = tiny_network(data, "A10", nn.ReLU, stride=4)
    model = behind_cifar(network).train()
    method = Art(k=Amount(1000, False), variant="paper")
    x, y = data["x"], data["y"]
    moved = method.adversarial(model, softplus_model(model, 50.0), x, y, seeded(data, "seed"))
    mean, std = model[0].mean, model[0].std  # type: ignore[index]
    close((moved - mean) / std, data["xadv_norm"])
    triplet = method.triplet(softplus_model(model, 50.0), torch.cat([x, moved]), y.repeat(2))
    close(triplet, data["exemplar_loss"])
    total = method.loss(model, x, y, seeded(data, "seed"))
    close(total, data["total"])
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=2e-4)
    total.backward()
    close_gradients(network, data, "grad")
    optimizer.step()
    for name, parameter in network.named_parameters():
        if f"after.{name}" in data:
            close(parameter, data[f"after.{name}"])


@pytest.mark.parametrize("net", ["S", "R"])
@pytest.mark.parametrize(("case", "penalty", "pairs"), [("tx", "tx", None), ("etx", "etx", None), ("tx5", "tx", 5)])
def test_r2ets_ranking_term(net: str, case: str, penalty: str, pairs: int | None) -> None:
    data = vectors("r2et")
    network, x = tiny_network(data, "S", ACTIVATIONS[net]), data["x"].clone().requires_grad_()
    loss = nn.functional.cross_entropy(network(x), data["y"])
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    close(gradient.abs().sum(dim=1).flatten(1), data[f"{net}_map"])
    method = R2ET(penalty=penalty, k=Amount(20, False), pairs=pairs, variant="paper")  # type: ignore[arg-type]
    term = method.ranking(gradient)
    close(term, data[f"{net}_{case}"])
    term.backward()
    close_gradients(network, data, f"{net}_{case}_grad")


@pytest.mark.parametrize("net", ["S", "R"])
def test_r2ets_hessian_term(net: str) -> None:
    data = vectors("r2et")
    network, x = tiny_network(data, "S", ACTIVATIONS[net]), data["x"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(x), data["y"]), x, create_graph=True)
    term = R2ET(variant="paper").curvature(network, gradient, x, data["y"])
    close(term, data[f"{net}_est_norm"])
    term.backward()
    close_gradients(network, data, f"{net}_est_norm_grad")


def test_a_whole_step_of_r2et() -> None:
    data = vectors("r2et")
    network = tiny_network(data, "S", softplus)
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)
    method = R2ET(k=Amount(20, False), variant="paper")
    method.loss(network, data["x"], data["y"], torch.Generator()).backward()
    close_gradients(network, data, "step_grad")
    optimizer.step()
    close(network.conv1.weight, data["step_after.conv1.weight"])  # type: ignore[arg-type]


def test_atex_takes_the_official_steps() -> None:
    data = vectors("atex")
    network, original = (tiny_network(data, "S", softplus) for _ in range(2))
    draws, steps = len(data["sg_noise"]), len(data["loss"])
    copies = data["tan_noise"].shape[1] // len(data["x"])
    method = Atex(eps=0.08, points=steps // 2, copies=copies, draws=draws, variant="paper")
    gradient = method.smoothgrad(network, data["x"], data["y"], seeded(data, "seed"))
    close(gradient, data["smoothgrad"])
    optimizer = torch.optim.Adam(network.parameters(), 1.5e-3)
    batch = Batch(x=data["x"], y=data["y"], generator=seeded(data, "seed"), start=original)
    losses = []
    for loss in method.losses(network, batch):
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    close(torch.stack(losses), data["loss"])
    for name, parameter in network.named_parameters():
        if f"after.{name}" in data:
            close(parameter, data[f"after.{name}"])
