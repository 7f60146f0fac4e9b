"""Metrics of randomisation against networks that are randomised by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import attrobust
from attrobust import load
from attrobust.benchmark.evaluation.cases import explaining
from attrobust.explainers.base import Explainer
from attrobust.explainers.baselines import Constant, Edges, Input, Random
from attrobust.explainers.gradcam import GradCam
from attrobust.explainers.saliency import Saliency
from attrobust.explainers.smoothgrad import SmoothGrad
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams, derive_seed
from attrobust.metrics import registry
from attrobust.metrics.base import Quality
from attrobust.metrics.randomisation.efficient_mprt import EfficientMprt, in_bins
from attrobust.metrics.randomisation.mprt import Mprt
from attrobust.metrics.randomisation.random_logit import RandomLogit
from attrobust.metrics.shared.case import Case
from attrobust.naming.spec import Spec, build
from attrobust.networks.passes import counted
from attrobust.networks.randomised import layers, randomised
from attrobust.networks.smoothed import Normalize

from helpers.cases import MakeCase, case_of

MPRTS = [Mprt(), Mprt(order="independent"), Mprt(layers="last")]
EFFICIENT = [EfficientMprt(), EfficientMprt(bins=7), EfficientMprt(entropy="shares")]


def case_of_fashion(images: Tensor, explainer: Explainer) -> Case:
    """Images explained with the network that ships for Fashion-MNIST."""
    model = load("fashion-mnist/natural").double()

    def explain(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return explainer(network, x, y, generator=torch.Generator().manual_seed(1))

    return Case(
        model=model,
        clean=images,
        attacked=images,
        target=model(images).argmax(dim=1),
        explain=lambda x, y: explain(model, x, y),
        explain_with=explain,
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
        partners=images,
        seed=4,
        ids=range(len(images)),
    )


@pytest.fixture
def images(real_images: tuple[Tensor, Tensor]) -> Tensor:
    return real_images[0][:3].double()


def gradients(model: nn.Module, x: Tensor, target: Tensor) -> np.ndarray:
    """Absolute gradients of logits, B×D."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        logits = model(x).gather(1, target[:, None]).sum()
        return torch.autograd.grad(logits, x)[0].abs().sum(dim=1).flatten(1).numpy()  # type: ignore[no-any-return]


def reset_by_hand(model: nn.Module, paths: list[str], seed: int) -> nn.Module:
    network = copy.deepcopy(model)
    for path in paths:
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("randomised layer", seed, path))
            network.get_submodule(path).reset_parameters()  # type: ignore[operator]
    return network


@pytest.mark.parametrize("metric", MPRTS, ids=str)
def test_mprt_is_the_correlation_with_maps_of_networks_randomised_by_hand(metric: Mprt, images: Tensor) -> None:
    case = case_of_fashion(images, Saliency())
    paths = [path for path, module in case.model.named_modules() if hasattr(module, "reset_parameters")][::-1]
    assert len(paths) == 6
    stages = [[path] if metric.order == "independent" else paths[: i + 1] for i, path in enumerate(paths)]
    known = gradients(case.model, case.clean, case.target)
    rows = []
    for stage in stages[-1:] if metric.layers == "last" else stages:
        maps = gradients(reset_by_hand(case.model, stage, case.seed), case.clean, case.target)
        rows.append([scipy.stats.spearmanr(a, b).statistic for a, b in zip(known, maps, strict=True)])
    assert metric.score(case).tolist() == pytest.approx(np.mean(rows, axis=0), abs=1e-10)


@pytest.mark.parametrize("metric", EFFICIENT, ids=str)
def test_efficient_mprt_is_the_rise_of_entropy_by_hand(metric: EfficientMprt, images: Tensor) -> None:
    case = case_of_fashion(images, Saliency())
    paths = [path for path, module in case.model.named_modules() if hasattr(module, "reset_parameters")][::-1]
    networks = (case.model, reset_by_hand(case.model, paths, case.seed))
    before, after = (gradients(network, case.clean, case.target) for network in networks)

    def entropy(row: np.ndarray) -> float:
        shares = row if metric.entropy == "shares" else np.histogram(row, bins=metric.bins)[0]
        return float(scipy.stats.entropy(shares))

    wanted = [entropy(b) / entropy(a) - 1 for a, b in zip(before, after, strict=True)]
    assert metric.score(case).tolist() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("explainer", [Edges(), Input(), Random()], ids=str)
def test_maps_that_ignore_the_network_are_worst(explainer: Explainer, images: Tensor) -> None:
    case = case_of_fashion(images, explainer)
    for metric in MPRTS:
        assert metric.score(case).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    for efficient in EFFICIENT:
        assert efficient.score(case).tolist() == [0.0] * 3


def test_a_constant_map_is_undefined(images: Tensor) -> None:
    case = case_of_fashion(images, Constant())
    for metric in (*MPRTS, *EFFICIENT[:2]):
        assert metric.score(case).isnan().all()
    assert EFFICIENT[2].score(case).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


@pytest.mark.parametrize("explainer", [Saliency(), GradCam()], ids=str)
def test_maps_of_the_network_pass(explainer: Explainer, images: Tensor) -> None:
    case = case_of_fashion(images, explainer)
    for metric in MPRTS:
        assert (metric.score(case) < 0.5).all()


def test_a_constant_map_of_a_random_network_counts_as_no_correlation(images: Tensor) -> None:
    case = case_of_fashion(images, Saliency())
    flat = replace(case, explain_with=lambda _network, x, _y: torch.ones_like(x))
    assert Mprt().score(flat).tolist() == [0.0] * 3
    spoiled = replace(case, explain_with=lambda _network, x, _y: torch.full_like(x, math.nan))
    assert Mprt().score(spoiled).isnan().all()
    assert EfficientMprt().score(spoiled).isnan().all()


def test_a_case_without_other_networks_says_so(images: Tensor) -> None:
    case = case_of(load("digits/natural").double(), images, torch.zeros(3, dtype=torch.int64))
    case = replace(case, explain=lambda x, _y: x)
    with pytest.raises(RuntimeError, match="has no explain_with"):
        Mprt().score(case)


def test_the_scored_network_stays_and_passes_through_its_copies_are_counted(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2))
    state = copy.deepcopy(case.model.state_dict())
    with counted(case.model) as passes:
        Mprt().score(case)
    assert all(torch.equal(value, state[name]) for name, value in case.model.state_dict().items())
    # The map itself and one of each layer, of two images.
    assert passes.forward == 2 * (1 + len(layers(case.model, case.clean[:1])))


# Classes.


@pytest.mark.parametrize("other", ["random", "second"])
def test_random_logit_is_the_similarity_of_maps_of_two_classes_by_hand(
    other: Literal["random", "second"], images: Tensor
) -> None:
    case = case_of_fashion(images, Saliency())
    known = gradients(case.model, case.clean, case.target)
    by_rank, by_windows = (
        RandomLogit(other=other, similarity=similarity).score(case).tolist() for similarity in ("spearman", "ssim")
    )
    logits = case.model(case.clean).detach()
    for row in range(len(images)):
        one, target = slice(row, row + 1), int(case.target[row])
        rest = [label for label in range(10) if label != target]
        if other == "second":
            label = max(rest, key=logits[row].tolist().__getitem__)
        else:
            draws = ImageStreams(case.seed, [case.ids[row]], "random logit").uniform(logits[one])[0].tolist()
            label = max(rest, key=draws.__getitem__)
        maps = gradients(case.model, case.clean[one], torch.tensor([label]))[0]
        assert by_rank[row] == pytest.approx(scipy.stats.spearmanr(known[row], maps).statistic, abs=1e-10)
        height, width = images.shape[2:]
        windows = structural_similarity(
            known[row].reshape(height, width), maps.reshape(height, width), data_range=np.ptp(known[row])
        )
        assert by_windows[row] == pytest.approx(windows, abs=1e-10)


def test_the_other_class_is_never_the_explained_one_and_each_is_drawn() -> None:
    seen: list[Tensor] = []

    def explain(x: Tensor, y: Tensor) -> Tensor:
        seen.append(y)
        return x

    x = torch.rand(200, 1, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(49, 4)).double().eval()
    case = replace(case_of(model, x, torch.arange(200) % 4), explain=explain)
    assert RandomLogit().score(case).tolist() == pytest.approx([1.0] * 200)
    assert RandomLogit(similarity="ssim").score(case).tolist() == pytest.approx([1.0] * 200)
    others = [y for y in seen if not torch.equal(y, case.target)]
    assert len(others) == 2
    for y in others:
        assert (y != case.target).all()
        pairs = torch.bincount(4 * case.target + y, minlength=16).view(4, 4)
        assert (pairs + torch.eye(4) * 99 >= 6).all()


@pytest.mark.parametrize("explainer", [Edges(), Random()], ids=str)
def test_maps_that_ignore_the_class_are_worst_and_a_constant_one_is_undefined(
    explainer: Explainer, images: Tensor
) -> None:
    assert RandomLogit().score(case_of_fashion(images, explainer)).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    assert (RandomLogit().score(case_of_fashion(images, Saliency())) < 0.9).all()
    assert RandomLogit().score(case_of_fashion(images, Constant())).isnan().all()


# Runs.


def test_one_call_and_a_run_explain_randomised_networks_as_a_case_does(real_images: tuple[Tensor, Tensor]) -> None:
    model, x = load("digits/natural"), real_images[0][:3]
    names = ("mprt", "efficient-mprt", "random-logit")
    found = attrobust.evaluate(
        model, x, explainer="smoothgrad:samples=3", attack="noise:draws=1", metrics=",".join(names), audit=False
    )
    explain, network = explaining(SmoothGrad(samples=3), 0), copy.deepcopy(model).double()
    case = case_of(network, x.double(), network(x.double()).argmax(dim=1))
    case = replace(
        case,
        explain=lambda images, classes: explain(network, images, classes),
        explain_with=explain,
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
    )
    for name, scored in zip(names, found.scores, strict=True):
        metric = registry.get(name)()
        assert isinstance(metric, Quality)
        assert scored.values.tolist() == pytest.approx(metric.score(case).tolist(), abs=1e-9)


# Networks.


class Branching(nn.Module):
    """Layers are defined in another order than they are called, and one is called inside a function of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 3)
        self.shift = nn.Parameter(torch.full((1, 1, 4), 0.5))
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.normalize = Normalize((0.3,), (0.5,))
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3, stride=2))
        self.norm = nn.BatchNorm2d(4)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.pool = nn.AdaptiveAvgPool2d((1, 3))

    def forward(self, x: Tensor) -> Tensor:
        found = self.plain(self.norm(self.first(self.normalize(x))))
        tokens = self.pool(found).flatten(2).transpose(1, 2) + self.shift
        return self.head(self.attend(tokens, tokens, tokens)[0].flatten(1))  # type: ignore[no-any-return]


@pytest.fixture
def branching() -> nn.Module:
    torch.manual_seed(0)
    network = Branching().double()
    with torch.no_grad():
        for _ in range(5):
            network(3 * torch.randn(8, 1, 9, 9, dtype=torch.float64) + 1)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def image() -> Tensor:
    return torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_layers_are_in_the_order_of_calls_from_the_logits_down(branching: nn.Module) -> None:
    assert layers(branching, image()) == ["head", "attend.out_proj", "attend", "plain", "norm", "first", ""]


def test_a_cascade_ends_without_any_trained_number(branching: nn.Module) -> None:
    before = {name: value.clone() for name, value in branching.state_dict().items()}
    *_, last = randomised(branching, image(), 0)
    after = last.state_dict()
    kept = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert all(name.startswith("normalize.") for name in kept)
    assert all(torch.equal(value, before[name]) for name, value in branching.state_dict().items())
    assert not branching.training
    assert all(value.isfinite().all() for value in after.values())


def test_batch_normalisation_is_as_new(branching: nn.Module) -> None:
    *_, last = randomised(branching, image(), 0)
    for name in ("norm", "plain"):
        layer, new = last.get_submodule(name), nn.BatchNorm2d(4, affine=name == "norm").double()
        assert all(torch.equal(value, layer.state_dict()[key]) for key, value in new.state_dict().items())


def test_one_layer_at_a_time_is_given_what_it_has_in_the_cascade(branching: nn.Module) -> None:
    original, paths = branching.state_dict(), layers(branching, image())
    *_, last = randomised(branching, image(), 7)
    for path, network in zip(paths, randomised(branching, image(), 7, "independent"), strict=True):
        changed = [name for name, value in network.state_dict().items() if not torch.equal(value, original[name])]
        assert changed
        assert all(name.startswith(path) for name in changed)
        assert all(torch.equal(network.state_dict()[name], last.state_dict()[name]) for name in changed)
        if not path:
            assert changed == ["shift"]


def test_draws_are_of_the_seed_and_leave_the_random_state(branching: nn.Module) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (list(randomised(branching, image(), seed))[-1].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert not torch.equal(first["shift"], other["shift"])


def test_parameters_without_a_rule_have_the_size_that_they_had() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((10, 1, 50, 50), 0.02))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight[:, 0] * x).sum(dim=(2, 3))

    (network,) = randomised(Scaled(), torch.ones(1, 1, 50, 50), 0)
    weight = network.get_parameter("weight").detach()
    assert float(weight.square().mean().sqrt()) == pytest.approx(0.02, rel=0.03)
    assert abs(float(weight.mean())) < 0.001


@pytest.mark.parametrize("scale", [1.0, 1e300, 1e-300])
def test_shares_in_bins_are_those_of_numpy(scale: float) -> None:
    rows = torch.randn(4, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-1, 1)
    shares = in_bins(scale * rows, 13)
    for row, found in zip(rows, shares, strict=True):
        assert (200 * found).tolist() == pytest.approx(np.histogram(row, bins=13)[0].tolist(), abs=1e-9)
    assert in_bins(torch.full((1, 9), 0.1), 5).sum() == 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mprt", {"layers": "last", "order": "independent"}, "layers=last needs order=cascading"),
        ("mprt", {"order": "up"}, "cascading, independent"),
        ("random-logit", {"other": "first"}, "random, second"),
        ("efficient-mprt", {"bins": "1"}, "bins=1 must be at least 2"),
        ("efficient-mprt", {"entropy": "gini"}, "histogram, shares"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        build(registry.get(name), Spec(name, settings))
