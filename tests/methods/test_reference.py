"""Numbers of the official codes, reproduced in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attrobust.explainers.ig import IG
from attrobust.explainers.input_x_gradient import InputXGradient
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.shared.noise import mean_over_noise
from attrobust.maps.reduction import reduce_map
from attrobust.methods.aga import AGA
from attrobust.methods.hessian import Hessian
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.networks.smoothed import Normalize

from helpers.vectors import close, close_gradients, tiny_network, vectors

CIFAR_STD = (0.2023, 0.1994, 0.2010)


def softplus() -> nn.Module:
    return nn.Softplus(beta=3)


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("uniform", {}),
        ("gaussian", {"delta": "gaussian"}),
        ("grad", {"delta": "grad"}),
        ("gradsign", {"delta": "grad-sign"}),
        ("nodetach", {"detach": False}),
        ("cifarstd", {}),
        ("relu", {}),
    ],
)
def test_aga_loss_and_gradients_are_those_of_the_official_code(case: str, settings: dict[str, object]) -> None:
    data = vectors("aga_loss")
    network = tiny_network(data, "S", nn.ReLU if case == "relu" else softplus)
    model, x = network, data["x"]
    if case == "cifarstd":
        # The vectors feed x as the normalised input; the pixels that give it are x times the standard deviation.
        normalize = Normalize((0.0, 0.0, 0.0), CIFAR_STD).double()
        normalize.std = torch.tensor(CIFAR_STD, dtype=torch.float64).view(1, 3, 1, 1)
        model, x = nn.Sequential(normalize, network), x * normalize.std

    def loss(**weights: float) -> Tensor:
        method = AGA(eps=4 / 255, **(settings | weights))  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(int(data[f"{case}_seed"]))
        return method.loss(model, x, data["y"], generator)

    total = loss()
    close(total, data[f"{case}_loss"])
    plain = loss(l2=0.0, cosd=0.0)
    close(plain, data[f"{case}_ce"])
    close(loss(l2=1.0, cosd=0.0) - plain, data[f"{case}_l2"])
    close(loss(l2=0.0, cosd=1.0) - plain, data[f"{case}_cosd"])
    total.backward()
    close_gradients(network, data, f"{case}_grad")


def test_hessian_loss_and_gradients_are_those_of_the_official_code() -> None:
    data = vectors("hessian_loss")
    network = tiny_network(data, "S", softplus)
    generator = torch.Generator().manual_seed(int(data["seed"]))
    loss = Hessian(lam=1e-3).loss(network, data["x"], data["y"], generator)
    close(loss, data["loss"])
    loss.backward()
    close_gradients(network, data, "grad")


@pytest.mark.parametrize("name", ["S", "R"])
@pytest.mark.parametrize(("explainer", "key"), [(Saliency(), "grad"), (InputXGradient(), "xgrad")])
def test_maps_are_those_of_the_official_interpreter(name: str, explainer: Saliency, key: str) -> None:
    data = vectors(f"interpreter_{name}")
    model = tiny_network(data, name, softplus if name == "S" else nn.ReLU)
    raw = explainer(model, data["x"], data["y"])
    for threshold, reduction in (("abs", "abs-sum"), ("none", "sum")):
        maps = reduce_map(raw, reduction)  # type: ignore[arg-type]
        close(maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-8), data[f"h_{name}_{key}_standard_{threshold}"])
        close(maps / (maps.sum(dim=(1, 2), keepdim=True) + 1e-8), data[f"h_{name}_{key}_sum_{threshold}"])


def test_smoothgrad_is_that_of_the_official_interpreter_for_its_noise() -> None:
    data = vectors("interpreter_sg")
    model = tiny_network(data, "S", softplus)
    x = data["x"]
    noise = 0.1 * (x.max() - x.min()) * data["sg_noise"]
    maps = torch.cat(
        [
            mean_over_noise(model, x[i : i + 1], data["y"][i : i + 1], noise[:, i], create_graph=False)
            for i in range(len(x))
        ]
    )
    close(maps.sum(dim=1), data["h_S_smoothgrad_raw"])


@pytest.mark.parametrize(
    ("name", "activation"), [("relu", nn.ReLU), ("sp3", softplus), ("sp50", lambda: nn.Softplus(50))]
)
def test_maps_are_those_of_dombrowski(name: str, activation: type[nn.Module]) -> None:
    data = vectors("dombrowski_expl")
    prefix = next(key.partition(".")[0] for key in data if key.endswith("fc.weight"))
    model = tiny_network(data, prefix, activation)
    x = data["x"][:3]
    target = data[f"pred_{name}"]
    assert torch.equal(model(x).argmax(1), target)
    probability = nn.Sequential(model, nn.Softmax(dim=1)).eval()
    for raw, key in (
        (Saliency()(model, x, target), "gradient"),
        (InputXGradient()(model, x, target), "grad_times_input"),
        (IG(steps=30, rule="riemann_right")(probability, x, target), "integrated_grad"),
    ):
        maps = reduce_map(raw, "abs-sum")
        close(maps / maps.sum(dim=(1, 2), keepdim=True), data[f"map_{name}_{key}"])


def test_cosine_is_that_of_the_official_metrics() -> None:
    data = vectors("metrics_aga")
    for a, b in ("ab", "ba", "ac", "ca"):
        close(Cosine()(data[f"map_{a}"], data[f"map_{b}"]), data[f"cossim_{a}{b}"])
