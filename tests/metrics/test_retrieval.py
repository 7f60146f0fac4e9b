"""The retrieval protocol: predictions attacked, explained, and asked again through the explanation."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust.attacks.base import Context
from attrobust.attacks.pgd import Pgd
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.metrics.faithfulness.retrieval import Retrieval
from attrobust.metrics.shared.case import Case
from attrobust.networks.smoothed import Normalize
from attrobust.threat import ThreatModel

from helpers.runs import run

Norms = pytest.mark.parametrize(("norm", "eps"), [("linf", 32 / 255), ("l2", 2.5)])


def free(norm: str = "linf", eps: float = 32 / 255) -> ThreatModel:
    return ThreatModel(norm=norm, eps=eps, keep_prediction=False)  # type: ignore[arg-type]


def case_of(model: nn.Module, clean: Tensor, attacked: Tensor, explain: Callable[[Tensor, Tensor], Tensor]) -> Case:
    return Case(
        model=model,
        clean=clean,
        attacked=attacked,
        target=model(clean).argmax(dim=1),
        explain=explain,
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        partners=clean.roll(1, 0),
        seed=0,
        ids=range(len(clean)),
    )


class Darkest(nn.Module):
    """Class c has the logit -z_c: the darkest pixel of a 1×2×2 image, in normalised units, is the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.5,), (0.25,))

    def forward(self, x: Tensor) -> Tensor:
        return -self.normalize(x).flatten(1)


def test_what_is_masked_becomes_the_mean_colour_and_scores_are_worked_out_by_hand() -> None:
    model = Darkest().double().eval()
    clean = torch.tensor([0.1, 0.6, 0.7, 0.8], dtype=torch.float64).view(1, 1, 2, 2).repeat(5, 1, 1, 1)
    attacked = torch.tensor([0.2, 0.1, 0.7, 0.8], dtype=torch.float64).view(1, 1, 2, 2).repeat(5, 1, 1, 1)
    masks = [
        [2.0, 0.0, 1.0, 1.0],  # z: -1.2, 0, …: back to class 0
        [-2.0, 1.0, 0.0, 0.0],  # the sign does not matter; z: -1.2, -0.8
        [2.0, 2.0, 0.0, 0.0],  # as attacked: class 1
        [0.0, 0.0, 1.0, 1.0],  # z: 0, 0, 0.8, 1.2: the mean colour of pixel 0 is darkest, the first of equals
        [0.0, 0.0, 0.0, 0.0],  # no mask
    ]
    maps = torch.tensor(masks, dtype=torch.float64).view(5, 1, 2, 2)
    found = Retrieval().score(case_of(model, clean, attacked, lambda *_: maps))
    assert found.tolist()[:4] == [1.0, 1.0, 0.0, 1.0]
    assert found.isnan().tolist() == [False] * 4 + [True]


def test_the_label_says_which_class_of_the_attacked_image_is_explained() -> None:
    model = Darkest().double().eval()
    clean = torch.tensor([0.1, 0.6, 0.7, 0.8], dtype=torch.float64).view(1, 1, 2, 2)
    attacked = torch.tensor([0.2, 0.1, 0.7, 0.8], dtype=torch.float64).view(1, 1, 2, 2)

    def explain(x: Tensor, y: Tensor) -> Tensor:
        """The pixel of the class that is asked about."""
        assert torch.equal(x, attacked)
        return F.one_hot(y, 4).view(1, 1, 2, 2).double()

    case = case_of(model, clean, attacked, explain)
    assert Retrieval(label="predicted").score(case).tolist() == [0.0]
    assert Retrieval(label="oracle").score(case).tolist() == [1.0]


@pytest.mark.parametrize("label", ["predicted", "oracle"])
def test_scores_are_those_of_a_loop_in_normalised_units(
    label: str, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: Callable[..., Context]
) -> None:
    model, clean = copy.deepcopy(network).double(), real_images[0].double()
    attacked = Pgd(steps=10)(make_context(model, Saliency(), clean, threat=free()), clean, real_images[1]).x
    found = Retrieval(label=label).score(  # type: ignore[arg-type]
        case_of(model, clean, attacked, lambda x, y: Saliency()(model, x, y))
    )
    normalize = next(module for module in model.modules() if isinstance(module, Normalize))
    undone = nn.Sequential(Unnormalize(normalize), model)
    wanted = []
    for x, moved in zip(clean.split(1), attacked.split(1), strict=True):
        original = int(model(x).argmax())
        chosen = original if label == "oracle" else int(model(moved).argmax())
        mask = Saliency()(model, moved, torch.tensor([chosen])).abs()
        wanted.append(float(int(undone(normalize(moved) * (mask / mask.max())).argmax()) == original))
    assert found.tolist() == wanted
    assert 0 < sum(wanted) < len(wanted), "a case in which all agree would not tell formulas apart"


class Unnormalize(nn.Module):
    """Normalised units to pixels."""

    def __init__(self, layer: Normalize) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        return z * self.layer.std + self.layer.mean


@Norms
def test_pgd_changes_predictions_where_noise_does_not(
    norm: str, eps: float, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: Callable[..., Context]
) -> None:
    x, y = real_images
    threat = free(norm, eps)
    context = make_context(network, Saliency(), x, threat=threat)
    clean = network(x).argmax(dim=1)
    attacked = Pgd()(context, x, y)
    noisy = threat.scatter(x, context.streams("start").uniform(x))
    flips = [int((network(moved).argmax(dim=1) != clean).sum()) for moved in (attacked.x, noisy)]
    assert flips[0] >= flips[1] + 4, flips
    assert attacked.feasible.all()
    steps = Pgd().steps
    # Of the base and the attack one prediction each; the loss of every iterate, and the gradient of all but the last.
    assert attacked.passes.forward == len(x) * (steps + 1 + 2)
    assert attacked.passes.backward == len(x) * steps


@Norms
@pytest.mark.parametrize(("share", "step", "expected"), [(0.5, 0.3, "flips"), (0.1, 1.7, "best is not last")])
def test_pgd_keeps_the_iterate_of_lowest_margin(
    norm: str,
    eps: float,
    share: float,
    step: float,
    expected: str,
    network: nn.Module,
    real_images: tuple[Tensor, Tensor],
    make_context: Callable[..., Context],
) -> None:
    model, x = copy.deepcopy(network).double(), real_images[0].double()
    threat = free(norm, share * eps)
    context = make_context(model, Saliency(), x, threat=threat)
    found = Pgd(steps=6, step=step)(context, x, real_images[1]).x
    start = threat.scatter(x, context.streams("start").uniform(x))
    kinds = set()
    for image, point, kept in zip(x, start, found, strict=True):
        label = model(image[None]).argmax(dim=1)
        seen = []
        for _ in range(7):
            attached = point[None].clone().requires_grad_()
            logits = model(attached)
            loss = F.cross_entropy(logits, label)
            (gradient,) = torch.autograd.grad(loss, attached)
            other = logits.detach()[0, torch.arange(logits.shape[1]) != label].max()
            seen.append((float(logits.detach()[0, label] - other), point))
            unit = gradient[0].sign() if norm == "linf" else gradient[0] / gradient[0].norm()
            delta = point + step * threat.eps * unit - image
            if norm == "linf":
                delta = delta.clamp(-threat.eps, threat.eps)
            else:
                delta = delta * min(1.0, threat.eps / float(delta.norm()))
            point = (image + delta).clamp(0, 1)  # noqa: PLW2901
        margin, wanted = min(seen, key=lambda item: item[0])
        kinds.add("best is not last" if wanted is not seen[-1][1] else "best is last")
        kinds |= {"flips"} if margin < 0 else set()
        assert (kept - wanted).abs().max() < 1e-9
    assert expected in kinds, "the images must show the case"


def test_an_attack_on_the_prediction_says_what_it_needs(
    network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: Callable[..., Context]
) -> None:
    x, y = real_images
    with pytest.raises(ValueError, match="allow it with --allow-flips or keep_prediction=False"):
        Pgd()(make_context(network, Saliency(), x), x, y)


@pytest.mark.parametrize(("settings", "message"), [({"steps": 0}, "at least 1"), ({"step": 0.0}, "above 0")])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pgd(**settings)  # type: ignore[arg-type]


def test_the_command_reports_retrieval_for_every_explainer_and_verifies_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = [
        "--methods",
        "natural",
        "--explainers",
        "saliency,relex:steps=3,samples=2",
        "--attacks",
        "noise,pgd:steps=5",
    ]
    words += [
        "--baselines",
        "none",
        "--metrics",
        "cosine,retrieval,retrieval:label=oracle",
        "--images",
        "8",
        "--eps",
        "32/255",
    ]
    code, out, err = run([*words, "--allow-flips", "--full", "--out", folder], capsys)
    assert code == 0, err
    assert "modified: attacks, eps, explainers, images, keep_prediction, metrics" in " ".join(out.split())
    assert "prediction kept" not in out
    assert "retrieval, predicted (%) ↑" in out
    assert "retrieval, oracle (%) ↑" in out
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 1 + 1 + 2 * 2 * 3
    assert all(row["cell"]["threat"]["keep_prediction"] is False for row in rows if row["cell"]["attack"])
    retrieved = [row["mean"] for row in rows if row["metric"]["name"] == "retrieval"]
    assert all(8 * mean == int(8 * mean) for mean in retrieved)
    assert run(["verify", folder], capsys)[0] == 0
