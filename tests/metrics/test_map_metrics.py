"""Metrics of maps of clean images against brute force: complexity, change at neighbours, sets of pixels, segments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from attrobust import load
from attrobust.explainers.base import Explainer
from attrobust.explainers.baselines import Constant, Random
from attrobust.explainers.ig import IG
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.maps.segments import find
from attrobust.metrics import registry
from attrobust.metrics.base import Quality
from attrobust.metrics.complexity.effective_complexity import EffectiveComplexity
from attrobust.metrics.complexity.entropy import Entropy
from attrobust.metrics.faithfulness.irof import Irof, removal_steps
from attrobust.metrics.faithfulness.sensitivity_n import SensitivityN
from attrobust.metrics.sensitivity.local_lipschitz import LocalLipschitz
from attrobust.metrics.sensitivity.relative_stability import (
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
    RelativeStability,
)
from attrobust.metrics.shared.case import Case
from attrobust.naming.spec import Spec, build
from attrobust.networks.passes import counted
from attrobust.networks.representation import representing
from attrobust.networks.smoothed import Normalize, input_mean
from attrobust.types import Amount

from helpers.cases import MakeCase

STABILITIES: list[RelativeStability] = [
    RelativeInputStability(samples=4),
    RelativeOutputStability(samples=4, radius=0.9),
    RelativeRepresentationStability(samples=4, radius=0.9),
    RelativeInputStability(samples=3, floor=0.2, flips="keep", radius=0.3),
    RelativeRepresentationStability(samples=3, layer="features.3"),
]
LIPSCHITZ = [LocalLipschitz(samples=4, radius=0.1, normalize=how) for how in ("length", "none", "largest")]  # type: ignore[arg-type]
SENSITIVITIES_N = [
    SensitivityN(samples=7),
    SensitivityN(samples=5, attribution="share", n=Amount(30, percent=False), fill="black"),
]
IROFS = [Irof(), Irof(segments="grid", size=9, fill="black"), Irof(segments="felzenszwalb", size=7)]


def maps_of(kind: str, count: int = 3, side: int = 28) -> Tensor:
    """Signed maps B×1×H×W."""
    values = torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    kinds = {
        "plain": values,
        "tied": values.round(),
        "sparse": values.where(values > 1.5, 0.0),
        "huge": 1e300 * values.clamp(-1, 1),
        "tiny": 1e-300 * values,
    }
    return kinds[kind]


def explained_by(case: Case, explain: Callable[[Tensor], Tensor]) -> Case:
    """The case with maps made of images, channels added up."""
    return replace(case, explain=lambda x, _: explain(x), reduce=lambda raw: reduce_map(raw, "sum"))


def colour_case(model: nn.Module, count: int = 3) -> Case:
    """Images of three channels, explained by their gradients."""
    coarse = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = nn.functional.interpolate(coarse, (12, 12), mode="bilinear")
    model = model.double().eval()
    return Case(
        model=model,
        clean=x,
        attacked=x,
        target=model(x).argmax(dim=1),
        explain=lambda images, classes: Saliency()(model, images, classes),
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
        partners=x,
        seed=3,
        ids=range(count),
    )


def colour_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Normalize((0.2, 0.4, 0.6), (0.5, 0.6, 0.7)),
        *(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(576, 5)),
    )


# Complexity.


@pytest.mark.parametrize("kind", ["plain", "tied", "sparse", "huge", "tiny"])
def test_complexities_are_those_of_a_loop_over_pixels(kind: str, make_relu_case: MakeCase) -> None:
    maps = maps_of(kind)
    case = explained_by(make_relu_case(slice(0, 3)), lambda _: maps)
    entropies, counts = Entropy().score(case).tolist(), EffectiveComplexity(threshold=0.3).score(case).tolist()
    for entropy, count, row in zip(entropies, counts, maps, strict=True):
        sizes = [abs(value) / float(row.abs().max()) for value in row.flatten().tolist()]
        assert entropy == pytest.approx(float(scipy.stats.entropy(sizes)), abs=1e-10)
        assert count == sum(size > 0.3 for size in sizes)


def test_complexity_is_worst_for_a_constant_map_best_for_one_pixel_and_undefined_for_none(
    make_relu_case: MakeCase,
) -> None:
    maps = torch.zeros(3, 1, 28, 28, dtype=torch.float64)
    maps[0] = -0.1
    maps[1, 0, 4, 5] = 7.0
    case = explained_by(make_relu_case(slice(0, 3)), lambda _: maps)
    for metric, worst, best in ((Entropy(), math.log(784), 0.0), (EffectiveComplexity(), 784.0, 1.0)):
        constant, one, nothing = metric.score(case).tolist()
        assert constant == pytest.approx(worst, rel=1e-12)
        assert one == best
        assert math.isnan(nothing)


# Change at neighbours.


def drawn(metric: LocalLipschitz | RelativeStability, case: Case, row: int) -> list[Tensor]:
    """The neighbours of an image, each 1×C×H×W."""
    stream, x = ImageStreams(case.seed, [case.ids[row]], "sensitivity"), case.clean[row : row + 1]
    return [x + metric.radius * stream.uniform(x) for _ in range(metric.samples)]


@pytest.mark.parametrize("metric", LIPSCHITZ, ids=str)
def test_the_lipschitz_estimate_is_that_of_a_loop_over_neighbours(
    metric: LocalLipschitz, make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 3))
    for row, score in enumerate(metric.score(case).tolist()):
        x, y = case.clean[row : row + 1], case.target[row : row + 1]
        base, quotients = case.explain(x, y).flatten().tolist(), []
        for image in drawn(metric, case, row):
            other = case.explain(image, y).flatten().tolist()
            a, b = 1.0, 1.0
            if metric.normalize == "length":
                a = b = math.hypot(*base)
            elif metric.normalize == "largest":
                a, b = max(map(abs, base)), max(map(abs, other))
            moved = [v / b - u / a for u, v in zip(base, other, strict=True)]
            quotients.append(math.hypot(*moved) / math.dist(x.flatten().tolist(), image.flatten().tolist()))
        assert score == pytest.approx(max(quotients), rel=1e-10)


def test_only_the_papers_lipschitz_estimate_depends_on_the_size_of_maps(make_relu_case: MakeCase) -> None:
    for metric in LIPSCHITZ:
        small, large = (metric.score(make_relu_case(slice(0, 3), factor=factor)) for factor in (1.0, 10.0))
        assert torch.allclose(large, small * (10 if metric.normalize == "none" else 1))


def relative_change(values: list[float], base: list[float], floor: float) -> float:
    largest = max(map(abs, base))
    return math.hypot(*((v - b) / max(abs(b), floor * largest) for v, b in zip(values, base, strict=True)))


@pytest.mark.parametrize("metric", STABILITIES, ids=str)
def test_relative_stability_is_that_of_a_loop_over_neighbours(
    metric: RelativeStability, make_relu_case: MakeCase
) -> None:
    case, dropped = make_relu_case(slice(0, 12 if metric.radius == 0.9 else 3)), 0
    network = case.model
    for row, score in enumerate(metric.score(case).tolist()):
        x, y = case.clean[row : row + 1], case.target[row : row + 1]
        quotients = []
        for image in drawn(metric, case, row):
            if metric.flips == "drop" and int(network(image).argmax()) != int(network(x).argmax()):
                dropped += 1
                continue
            a, b = (case.explain(each, y).flatten().tolist() for each in (x, image))
            if isinstance(metric, RelativeOutputStability):
                move = math.dist(network(x)[0].tolist(), network(image)[0].tolist())
            else:
                c, d = (layer_by_hand(metric, network, each) for each in (x, image))
                move = relative_change(d, c, metric.floor)
            quotients.append(relative_change(b, a, metric.floor) / max(move, metric.least))
        if quotients:
            assert score == pytest.approx(max(quotients), rel=1e-9)
        else:
            assert math.isnan(score)
    assert dropped or metric.radius < 0.9 or metric.flips == "keep"


def layer_by_hand(metric: RelativeStability, network: nn.Module, x: Tensor) -> list[float]:
    """Pixels, or the output of the layers of a shipped network up to one."""
    if isinstance(metric, RelativeInputStability):
        return x.flatten().tolist()
    parts = dict(network.named_children())
    normalized = parts["normalize"](x)
    assert isinstance(metric, RelativeRepresentationStability)
    if metric.layer:
        return parts["features"][:4](normalized).flatten().tolist()  # type: ignore[index]
    return parts["classifier"][:-1](parts["features"](normalized)).flatten().tolist()  # type: ignore[index]


def test_maps_that_never_move_score_zero_and_maps_of_zeros_nothing(make_relu_case: MakeCase) -> None:
    for metric in (*LIPSCHITZ, *STABILITIES):
        assert metric.score(make_relu_case(slice(0, 2), explainer=Constant())).tolist() == [0.0, 0.0]
        assert metric.score(make_relu_case(slice(0, 2), factor=0.0)).isnan().all()


def test_a_black_image_has_no_input_stability(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2), explainer=Random())
    black = replace(case, clean=torch.zeros_like(case.clean))
    assert RelativeInputStability(flips="keep").score(black).isnan().all()
    assert not RelativeOutputStability(flips="keep").score(black).isnan().any()


def test_logits_that_do_not_move_leave_a_finite_score() -> None:
    case = colour_case(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    for parameter in case.model.parameters():
        nn.init.zeros_(parameter)
    maps = explained_by(case, lambda x: x.square())
    scores = RelativeOutputStability(least=1e-3).score(maps)
    assert scores.isfinite().all()
    assert torch.allclose(scores * 1e-3, RelativeOutputStability(least=1.0).score(maps))


# Representations.


class Functional(nn.Module):
    """Its last layer is called as a function, so that no module has it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.weight = nn.Linear(432, 6), nn.Parameter(torch.randn(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.inner(x.flatten(1)).relu(), self.weight)


def test_the_representation_enters_the_last_layer_and_costs_a_pass() -> None:
    case = colour_case(colour_network())
    x, parts = case.clean, list(case.model.children())
    represent = representing(case.model, x)
    with counted(case.model) as passes:
        # What counts passes is called before a copy is made.
        found = representing(case.model, x)(x)
    assert passes.forward == len(x)
    assert torch.equal(found, nn.Sequential(*parts[:-1])(x))
    assert torch.equal(represent(x), found)
    assert torch.equal(representing(case.model, x, "1")(x), nn.Sequential(*parts[:2])(x).flatten(1))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.model.modules())


def test_a_network_without_a_last_layer_is_refused_in_words_unless_a_layer_is_named() -> None:
    case = colour_case(Functional())
    with pytest.raises(ValueError, match="penultimate layer is not known; name the layer of the representation"):
        RelativeRepresentationStability().score(case)
    assert torch.equal(
        representing(case.model, case.clean, "inner")(case.clean), case.model.inner(case.clean.flatten(1))
    )
    assert RelativeRepresentationStability(layer="inner").score(case).isfinite().all()
    with pytest.raises(ValueError, match=r"no layer 'iner'\. Did you mean 'inner'"):
        RelativeRepresentationStability(layer="iner").score(case)
    convolutional = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 10), nn.Flatten())
    assert representing(convolutional.double(), case.clean)(case.clean).shape == (3, 500)


# Sets of pixels.


@pytest.mark.parametrize("metric", SENSITIVITIES_N, ids=str)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_sensitivity_n_is_that_of_a_loop_over_sets(
    metric: SensitivityN, colour: bool, make_relu_case: MakeCase
) -> None:
    case = colour_case(colour_network()) if colour else make_relu_case(slice(0, 3))
    pixels = case.clean[0, 0].numel()
    count, width = metric.n.of(pixels), case.clean.shape[3]
    fill = torch.as_tensor(input_mean(case.model)).double().view(-1, 1, 1).expand_as(case.clean[0])
    fill = fill if metric.fill == "mean" else torch.zeros_like(fill)
    for row, score in enumerate(metric.score(case).tolist()):
        x, target = case.clean[row], int(case.target[row])
        phi = case.clean_attributions[row] * (x - fill if metric.attribution == "slope" else 1.0)
        stream, sums, changes = ImageStreams(case.seed, [case.ids[row]], "sensitivity-n"), [], []
        for _ in range(metric.samples):
            order = stream.uniform(torch.empty(1, pixels, dtype=torch.float64))[0].tolist()
            chosen = sorted(range(pixels), key=lambda i: -order[i])[:count]
            moved = x.clone()
            for i in chosen:
                moved[:, i // width, i % width] = fill[:, i // width, i % width]
            sums.append(sum(float(phi[:, i // width, i % width].sum()) for i in chosen))
            changes.append((case.model(x[None]) - case.model(moved[None]))[0, target].item())
        assert score == pytest.approx(float(scipy.stats.pearsonr(sums, changes).statistic), abs=1e-9)


def test_contributions_in_a_linear_network_are_perfectly_correlated_and_constant_maps_not_at_all() -> None:
    case = colour_case(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    assert torch.allclose(SensitivityN(samples=9).score(case), torch.ones(3, dtype=torch.float64))
    shares = explained_by(case, lambda _: case.clean_attributions * case.clean)
    assert torch.allclose(SensitivityN(samples=9, attribution="share").score(shares), torch.ones(3).double())
    for value in (0.1, -3.7, 0.0):
        constant = explained_by(case, lambda x, value=value: torch.full_like(x, value))  # type: ignore[misc]
        assert SensitivityN(samples=9, attribution="share").score(constant).isnan().all()
        assert SensitivityN(samples=9).score(constant).isnan().all()
    for parameter in case.model.parameters():
        nn.init.zeros_(parameter)
    assert SensitivityN(samples=9).score(explained_by(case, lambda x: x)).isnan().all()


def test_faithful_maps_are_more_correlated_and_fall_faster(make_case: MakeCase) -> None:
    pairs: list[tuple[Quality, Explainer]] = [
        (SensitivityN(samples=40, attribution="share"), IG(steps=8)),
        (SensitivityN(samples=40), Saliency()),
        (Irof(), IG(steps=8)),
    ]
    for metric, best in pairs:
        faithful, random = (
            float(metric.score(make_case(slice(0, 6), explainer=each)).mean()) for each in (best, Random())
        )
        assert faithful > random + 0.05


# Segments.


@pytest.mark.parametrize("metric", IROFS, ids=str)
@pytest.mark.parametrize("kind", ["plain", "tied", "huge"])
def test_irof_is_that_of_a_loop_over_segments(metric: Irof, kind: str, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    check_irof(metric, explained_by(case, lambda _: maps_of(kind)))


def test_irof_of_colour_images_changes_all_channels() -> None:
    check_irof(Irof(), colour_case(colour_network()))


def check_irof(metric: Irof, case: Case) -> None:
    fill = torch.as_tensor(input_mean(case.model)).double().view(-1, 1, 1).expand_as(case.clean[0])
    fill = fill if metric.fill == "mean" else torch.zeros_like(fill)
    labels = find(case.clean, metric.segments, metric.size).expand(len(case.clean), -1, -1)
    for row, score in enumerate(metric.score(case).tolist()):
        x, target, own = case.clean[row], int(case.target[row]), labels[row]
        scale = float(case.clean_maps[row].abs().max())
        values = [round(float((case.clean_maps[row] / scale)[own == i].mean()), 12) for i in range(int(own.max()) + 1)]
        heights = []
        for step in range(len(values) + 1):
            moved = x.clone()
            for i, value in enumerate(values):
                if sum(other >= value for other in values) <= step:
                    moved[:, own == i] = fill[:, own == i]
            heights.append(case.model(moved[None]).softmax(1)[0, target].item())
        area = np.trapezoid(np.array(heights) / heights[0], dx=1 / len(values))
        assert score == pytest.approx(1 - float(area), abs=1e-9)


@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e-200])
def test_a_constant_map_removes_nothing_before_the_end(value: float, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    maps = torch.full((3, 28, 28), value, dtype=torch.float64)
    labels = find(case.clean, "slic", 4)
    steps = removal_steps(maps, labels)
    assert torch.equal(steps, (labels.flatten(1).amax(dim=1) + 1)[:, None, None].expand_as(steps))
    constant = Irof().score(make_relu_case(slice(0, 3), explainer=Constant()))
    assert (constant < 0.02).all()
    assert (Irof().score(case) > constant + 0.1).all()


def test_an_image_of_one_segment_says_nothing(make_relu_case: MakeCase) -> None:
    case = explained_by(make_relu_case(slice(0, 2)), lambda x: maps_of("plain", len(x)))
    flat = replace(case, clean=torch.zeros_like(case.clean))
    metric = Irof(segments="felzenszwalb", size=20)
    assert int(find(flat.clean, "felzenszwalb", 20).max()) == 0
    assert metric.score(flat).isnan().all()


# Real networks, and settings.


@pytest.mark.parametrize("name", ["entropy", "effective-complexity", "sensitivity-n", "irof", "local-lipschitz"])
def test_shipped_networks_of_other_images_have_scores(name: str, real_images: tuple[Tensor, Tensor]) -> None:
    model = load("fashion-mnist/natural").double()
    x = real_images[0][:2].double()
    case = Case(
        model=model,
        clean=x,
        attacked=x,
        target=model(x).argmax(dim=1),
        explain=lambda images, classes: Saliency()(model, images, classes),
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
        partners=x,
        seed=0,
        ids=range(2),
    )
    metric = registry.get(name)()
    assert isinstance(metric, Quality)
    assert metric.score(case).isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("effective-complexity", {"threshold": "1"}, "threshold=1 must be at least 0 and below 1"),
        ("local-lipschitz", {"radius": "8"}, "write 8/255, not 8"),
        ("local-lipschitz", {"normalize": "sum"}, "length, none, largest"),
        ("relative-input-stability", {"floor": "0"}, "floor must be above 0"),
        ("relative-output-stability", {"floor": "2"}, "floor=2 must be at most 1"),
        ("relative-representation-stability", {"least": "0"}, "least must be above 0"),
        ("sensitivity-n", {"samples": "1"}, "samples=1 must be at least 2"),
        ("irof", {"size": "0"}, "size=0 must be at least 1"),
        ("irof", {"segments": "voronoi"}, "slic, felzenszwalb, quickshift, grid"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        build(registry.get(name), Spec(name, settings))


def test_sets_and_segments_must_fit_the_images() -> None:
    SensitivityN().check_size(8, 8)
    with pytest.raises(ValueError, match="n=64 leaves none of the 64 pixels"):
        SensitivityN(n=Amount(64, percent=False)).check_size(8, 8)
    Irof(size=7).check_size(8, 8)
    with pytest.raises(ValueError, match="size=8 makes a single segment of 8×8 images"):
        Irof(size=8).check_size(8, 8)


def test_all_orders_of_equal_segments_are_the_same() -> None:
    labels = torch.arange(6).view(1, 2, 3)
    for order in itertools.permutations([3.0, 3.0, 1.0, 1.0, 1.0, 2.0]):
        steps = removal_steps(torch.tensor(order).view(1, 2, 3), labels).flatten().tolist()
        assert steps == [{3.0: 2, 2.0: 3, 1.0: 6}[value] for value in order]
