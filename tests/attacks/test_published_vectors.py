"""Published attacks with ``variant=paper`` take the steps of the official codes, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.art import Art
from attrobust.attacks.base import Context, Explain
from attrobust.attacks.frame import Frame, frame
from attrobust.attacks.lens import flat_windows, windows
from attrobust.attacks.objectives.mass import top_pixels
from attrobust.attacks.r2et import R2ET
from attrobust.attacks.target import Target
from attrobust.explainers.input_x_gradient import InputXGradient
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.networks.smoothed import Normalize, softplus_model
from attrobust.threat import ThreatModel
from attrobust.types import Amount

from helpers.vectors import close, tiny_network, vectors

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
ACTIVATIONS = {"S": lambda: nn.Softplus(beta=3), "R": nn.ReLU}


def situation(model: nn.Module, x: Tensor, eps: float, explainer: Explain | None = None) -> Context:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Context(
        model=model,
        explainer=explainer or Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=eps),
        ids=range(len(x)),
        partners=x,
    )


@pytest.mark.parametrize("case", ["a16", "r16", "a32"])
def test_the_frame_attack_takes_the_official_steps(case: str) -> None:
    data = vectors(f"aga_aam_{case}")
    relu, x = case == "r16", data["x"]
    model = tiny_network(data, "net", ACTIVATIONS["R" if relu else "S"], stride=4 if case == "a32" else 2)
    width = 5 if case == "a32" else 2
    assert torch.equal(frame(x.shape[-1], x.shape[-1], width).double(), data["h_t"][0])
    context = situation(model, x, 4 / 255 * 5)
    attack = Frame(steps=10, width=width, variant="paper")
    points = list(attack.trajectory(context, x, data["y"]))
    close(points[1], data[f"{case}_x_iter1"])
    close(points[5], data[f"{case}_x_iter5"])
    close(points[10], data[f"{case}_x_adv"])
    assert torch.equal(attack.run(context, x, data["y"]), points[10])
    close(model(x), data[f"{case}_yhat"])
    smoothed = softplus_model(model, 20.0) if relu else model
    distances, changes = [], []
    for point in points[:-1]:
        changes.append(F.mse_loss(smoothed(point), data[f"{case}_yhat"]))
        maps = Saliency()(smoothed, point, data["y"]).abs().sum(dim=1)
        distances.append((maps / maps.amax(dim=(1, 2), keepdim=True) - data["h_t"]).square().sum() / len(x))
    close(torch.stack(distances), data[f"{case}_loss_expl"])
    close(torch.stack(changes), data[f"{case}_loss_output"])


@pytest.mark.parametrize(
    ("case", "settings", "explainer"),
    [
        ("g_grow", {}, Saliency()),
        ("g_sp3", {"beta": 3.0, "growth": 1.0}, Saliency()),
        ("g_sp3_lr2", {"beta": 3.0, "growth": 1.0, "lr": 2e-3}, Saliency()),
        ("gi_sp3", {"beta": 3.0, "growth": 1.0}, InputXGradient()),
        ("ig_sp3", {"beta": 3.0, "growth": 1.0, "explanation": "ig-probability"}, Saliency()),
    ],
)
def test_the_target_attack_takes_the_official_steps(case: str, settings: dict[str, object], explainer: Explain) -> None:
    data = vectors("dombrowski_attack")
    model, x, other = tiny_network(data, "R", nn.ReLU), data["x"][:1], data["x"][1:]
    context = replace(situation(model, x, 1.0, explainer), partners=other)
    attack = Target(variant="paper", steps=6, **settings)  # type: ignore[arg-type]
    points = list(attack.trajectory(context, x, model(x).argmax(dim=1)))
    # Not against the pixels alone: they have moved by little.
    close(points[-1] - x, data[f"{case}_x_adv"] - x)
    total, expl, output = data[f"{case}_losses"].T
    close(1e11 * expl + 1e6 * output, total)
    if case == "ig_sp3":
        return
    distances, changes = [], []
    for iteration, point in enumerate(points[:-1]):
        smoothed = softplus_model(model, 10 * 10 ** (iteration / 6) if case == "g_grow" else 3.0)
        logits = smoothed(point)
        changes.append(F.mse_loss(logits.softmax(dim=1), data[f"{case}_org_prob"]))
        maps = explainer(smoothed, point, logits.argmax(dim=1)).abs().sum(dim=1)
        distances.append(F.mse_loss(maps / maps.sum(), data[f"{case}_target_map"]))
    close(torch.stack(distances), expl)
    close(torch.stack(changes), output)


@pytest.mark.parametrize("case", ["id", "cn"])
def test_the_alignment_attack_takes_the_official_steps(case: str) -> None:
    data = vectors("art_loss_attack")
    network, x = tiny_network(data, "R", nn.ReLU), data["x"]
    if case == "cn":
        normalize = Normalize(CIFAR_MEAN, CIFAR_STD).double()
        normalize.mean = torch.tensor(CIFAR_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
        normalize.std = torch.tensor(CIFAR_STD, dtype=torch.float64).view(1, 3, 1, 1)
        network = nn.Sequential(normalize, network).eval()
    context = situation(network, x, 8 / 255)
    close(context.threat.scatter(x, 2 * data["noise"] - 1), data["x_start"])
    attack = Art(variant="paper", loss="alignment", k=Amount(250, percent=False))
    points = list(attack.misaligned(context, x, data["y"], data["x_start"]))
    assert len(points) == 4
    for step in (1, 3):
        assert not torch.equal(points[step], points[0])
        # A gradient entry within rounding of zero may step the other way.
        assert ((points[step] - data[f"{case}_x_adv_{step}"]).abs() > 1e-9).sum() <= 3


@pytest.mark.parametrize("net", ["S", "R"])
@pytest.mark.parametrize(("loss", "official"), [("ranking", "topk"), ("mse", "norm")])
@pytest.mark.parametrize(("case", "step", "stop"), [("non", 5e-3, False), ("es", 0.1, True)])
def test_r2ets_attacks_take_the_official_steps(
    net: str, loss: str, official: str, case: str, step: float, stop: bool
) -> None:
    data = vectors("r2et")
    model, x, y = tiny_network(data, "S", ACTIVATIONS[net]), data["x"][:2], data["y"][:2]
    k = Amount(20, percent=False)
    attack = R2ET(variant="paper", loss=loss, k=k, steps=8, step=step, stop=stop)  # type: ignore[arg-type]
    points = list(attack.trajectory(situation(model, x, 1.0), x, y))
    close(points[-1] - x, data[f"pgd_x_{net}_{official}_{case}"] - x)

    def top(image: Tensor) -> Tensor:
        image = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(image), y, reduction="sum"), image)
        return gradient.abs().sum(dim=1).flatten(1).topk(20, dim=1).indices

    for iteration, wanted in enumerate(data[f"pgd_overlap_{net}_{official}_{case}"].T):
        found = [
            len(set(a.tolist()) & set(b.tolist())) / 20 for a, b in zip(top(x), top(points[iteration + 1]), strict=True)
        ]
        assert all(b.isnan() or abs(a - b) < 1e-9 for a, b in zip(found, wanted, strict=True))


def test_an_image_of_r2et_stops_where_its_prediction_changes() -> None:
    data = vectors("r2et")
    model, x, y = tiny_network(data, "S", nn.ReLU), data["x"][:2], data["y"][:2]
    attack = R2ET(variant="paper", k=Amount(20, percent=False), steps=8, step=0.1)
    points = list(attack.trajectory(situation(model, x, 1.0), x, y))
    flipped = torch.stack([model(point).argmax(dim=1) != model(x).argmax(dim=1) for point in points])
    assert flipped[:, 0].any()
    first = int(flipped[:, 0].long().argmax())
    assert all(torch.equal(point[0], points[first][0]) for point in points[first:])
    assert not torch.equal(points[first][1], points[-1][1])


def test_official_windows_are_those_of_lens() -> None:
    data = vectors("lens")
    for image in range(4):
        found = flat_windows(top_pixels(data["map_o"][image].view(1, 28, 28), 20), 3)
        assert found.flatten().nonzero().flatten().tolist() == sorted(data[f"dil_o_{image}_k20"].tolist())


@pytest.mark.parametrize("width", [3, 5, 7])
def test_official_windows_of_every_width_give_the_official_scores(width: int) -> None:
    data = vectors("lens227")
    # Of two top sets, recall is the share of the second in the windows of the first, precision the reverse.
    o, p = (top_pixels(data[name].double().view(1, 227, 227), 1000) for name in ("map_o", "map_p"))
    scores = [(a & b).sum() / 1000 for a, b in ((o, p), (flat_windows(o, width), p), (o, flat_windows(p, width)))]
    close(torch.stack(scores).double(), data[f"metrics_w{width}_k1000"][:3])


def test_official_windows_are_of_flat_positions_and_lack_the_first() -> None:
    chosen = torch.zeros(4, 6, 5, dtype=torch.bool)
    for image, pixel in enumerate((0, 1, 14, 29)):
        chosen[image].view(-1)[pixel] = True
        reach = [down * 5 + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
        wanted = sorted({pixel + offset for offset in reach if 0 < pixel + offset < 30})
        assert flat_windows(chosen, 3)[image].flatten().nonzero().flatten().tolist() == wanted


@pytest.mark.parametrize("width", [3, 5, 7])
def test_official_windows_differ_from_ours_only_at_the_edges(width: int) -> None:
    chosen = top_pixels(vectors("lens")["map_o"].view(4, 28, 28), 20)
    reach = width // 2
    ours, official = windows(chosen, width), flat_windows(chosen, width)
    assert torch.equal(ours[:, :, reach:-reach], official[:, :, reach:-reach])
    assert not torch.equal(ours, official)
