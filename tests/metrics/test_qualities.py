"""Qualities of a map, over everything registered, against captum, scipy, official numbers and brute force."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import captum.metrics
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import Tensor, nn

from attrobust.explainers.base import Explainer
from attrobust.explainers.baselines import Constant, Random
from attrobust.explainers.ig import IG
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.metrics import registry
from attrobust.metrics.base import Quality
from attrobust.metrics.complexity.gini import Gini
from attrobust.metrics.faithfulness.deletion import Deletion
from attrobust.metrics.faithfulness.infidelity import Infidelity, squares
from attrobust.metrics.faithfulness.insertion import AdversarialInsertion, Insertion
from attrobust.metrics.localization.localization import Localization
from attrobust.metrics.sensitivity.sensitivity import AvgSensitivity, MaxSensitivity, Sensitivity
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.curve import Curve, blurred
from attrobust.naming.spec import Spec, build
from attrobust.networks.smoothed import Normalize, input_mean

from helpers.cases import MakeCase
from helpers.vectors import close, tiny_network, vectors

NAMES = [
    name
    for name in registry.names()
    if issubclass(registry.get(name), Quality) and registry.get(name).scope in ("map", "attack")
]
CURVES: list[Curve] = [
    Insertion(steps=7),
    Insertion(fill="black", area="mean"),
    Insertion(steps=5, fill="blur"),
    Deletion(steps=7),
    Deletion(fill="black", area="mean"),
    AdversarialInsertion(steps=7),
    AdversarialInsertion(steps=5, fill="black", area="mean"),
]
SENSITIVITIES: list[Sensitivity] = [
    MaxSensitivity(samples=4, radius=0.2),
    AvgSensitivity(samples=4, radius=0.2),
    MaxSensitivity(samples=6, radius=0.9, flips="drop"),
    AvgSensitivity(samples=6, radius=0.9, flips="drop"),
]
INFIDELITIES = [
    Infidelity(samples=6),
    Infidelity(samples=6, factor="none"),
    Infidelity(samples=6, factor="optimal", perturbation="baseline", fill="black"),
    Infidelity(samples=6, perturbation="baseline"),
    Infidelity(samples=6, perturbation="square", side=5),
    Infidelity(samples=6, perturbation="square", attribution="share", factor="optimal"),
]
MASKED = [Localization(by="pointing"), Localization(by="energy"), Localization(by="top")]
DEFAULTS: list[Quality] = [metric for name in NAMES if isinstance(metric := registry.get(name)(), Quality)]
ALL: list[Quality] = [*DEFAULTS, *CURVES, *SENSITIVITIES, *INFIDELITIES, *MASKED]
KINDS = ["plain", "tied", "sparse", "constant", "huge", "tiny"]


def maps_of(kind: str, count: int = 3, side: int = 28) -> Tensor:
    """Signed maps B×1×H×W."""
    values = torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    match kind:
        case "tied":
            return values.round()
        case "sparse":
            return values.where(values > 1.5, 0.0)
        case "constant":
            return torch.ones_like(values)
        case "huge":
            return 1e300 * values.clamp(-1, 1)
        case "tiny":
            return 1e-300 * values
        case _:
            return values


def with_maps(case: Case, maps: Tensor, attacked: Tensor | None = None) -> Case:
    """The case, explained by these maps, channels added up."""

    def explain(x: Tensor, _: Tensor) -> Tensor:
        return maps if attacked is None or x is case.clean else attacked

    return replace(case, explain=explain, reduce=lambda raw: reduce_map(raw, "sum"))


class Recorder(nn.Module):
    """Remembers what a network was shown and what it said."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []
        self.said: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.said.append(self.model(x))
        return self.said[-1]


class Linear(nn.Module):
    """Logits ``factor W z + b`` of the normalised image."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(1)
        self.normalize = Normalize((0.3,), (0.5,))
        self.linear = nn.Linear(784, 10)
        self.linear.weight = nn.Parameter(factor * torch.randn(10, 784, generator=draws))
        self.linear.bias = nn.Parameter(torch.randn(10, generator=draws))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.normalize(x).flatten(1))  # type: ignore[no-any-return]


def of_network(case: Case, model: nn.Module, explainer: Explainer | None = None) -> Case:
    """The case with another network."""
    model = model.double().eval()
    explain = Saliency() if explainer is None else explainer
    return replace(case, model=model, target=model(case.clean).argmax(dim=1), explain=lambda x, y: explain(model, x, y))


# Every quality of a map or of an attack.


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_scores_are_in_bounds_the_same_again_and_leave_everything_as_it_was(
    metric: Quality, make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 2))
    state, images = copy.deepcopy(case.model.state_dict()), case.clean.clone()
    flags = [parameter.requires_grad for parameter in case.model.parameters()]
    random_state = torch.random.get_rng_state()
    scores = metric.score(case)
    low, high = metric.bounds
    assert scores.dtype == torch.float64
    assert ((scores >= low) & (scores <= high) | scores.isnan()).all()
    assert not scores.isnan().all()
    assert torch.equal(metric.score(case), scores)
    assert all(torch.equal(value, state[key]) for key, value in case.model.state_dict().items())
    assert not any(module.training for module in case.model.modules())
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert [parameter.requires_grad for parameter in case.model.parameters()] == flags
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in case.model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(case.clean, images)


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_a_score_does_not_depend_on_the_batch(metric: Quality, make_relu_case: MakeCase) -> None:
    together = metric.score(make_relu_case(slice(0, 2)))
    alone = torch.cat([metric.score(make_relu_case(slice(i, i + 1))) for i in range(2)])
    assert torch.allclose(alone, together, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_one_value_that_is_not_finite_takes_the_score_from_its_image_alone(
    metric: Quality, make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 4))

    def spoiled(x: Tensor, y: Tensor) -> Tensor:
        maps = case.explain(x, y)
        for i, value in enumerate((math.nan, math.inf, -math.inf)):
            maps[i, 0, 3, 3] = value
        return maps

    scores, wanted = metric.score(replace(case, explain=spoiled)), metric.score(case)
    assert scores[:3].isnan().all()
    assert torch.equal(scores[3].nan_to_num(-1), wanted[3].nan_to_num(-1))


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_only_a_quality_of_an_attack_looks_at_attacked_images(metric: Quality, make_relu_case: MakeCase) -> None:
    case, other = make_relu_case(slice(0, 1)), make_relu_case(slice(0, 1))
    # Not by ``replace``, since a case takes images alone.
    object.__setattr__(other, "attacked", torch.full_like(case.attacked, math.nan))
    same = torch.equal(metric.score(other).nan_to_num(-1), metric.score(case).nan_to_num(-1))
    assert same == (metric.scope == "map")


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_settings_as_typed(name: str) -> None:
    cls = registry.get(name)
    for settings in cls.presets.values():
        assert isinstance(build(cls, Spec(name, settings)), cls)


def test_titles_are_not_shared() -> None:
    titles = [metric.title for metric in (*DEFAULTS, *MASKED[::2])]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("metric", [Insertion(), Deletion()], ids=str)
def test_maps_of_the_network_are_more_faithful_than_a_random_one_and_a_constant_one_is_last(
    metric: Quality, make_case: MakeCase
) -> None:
    sign = 1 if metric.higher_is_better else -1
    saliency, ig, random, constant = (
        sign * float(metric.score(make_case(explainer=explainer)).mean())
        for explainer in (Saliency(), IG(steps=8), Random(), Constant())
    )
    assert min(saliency, ig) > random > constant


def test_maps_of_the_network_foretell_its_logits_better_than_maps_that_know_nothing(make_case: MakeCase) -> None:
    saliency, ig, random, constant = (
        float(Infidelity(samples=30).score(make_case(explainer=explainer)).mean())
        for explainer in (Saliency(), IG(steps=8), Random(), Constant())
    )
    assert max(saliency, ig) < min(random, constant)
    assert min(random, constant) > 0.9


# Insertion and deletion.


def fill_of(metric: Curve, model: nn.Module, image: np.ndarray) -> np.ndarray:
    """What stands where there is no pixel, for one image C×H×W."""
    mean = torch.as_tensor(input_mean(model)).double().view(-1, 1, 1).numpy()
    if metric.fill == "blur":
        impulse = np.zeros((11, 11))
        impulse[5, 5] = 1
        kernel = scipy.ndimage.gaussian_filter(impulse, 5)
        return np.stack([scipy.ndimage.convolve(plane, kernel, mode="constant") for plane in image - mean]) + mean
    return np.zeros_like(image) + (mean if metric.fill == "mean" else 0.0)


def area_by_hand(metric: Curve, model: nn.Module, image: Tensor, values: list[float], target: int) -> float:
    """One pixel after another, for one image."""
    picture = image.numpy()
    other = fill_of(metric, model, picture)
    width = picture.shape[2]
    order = sorted(values, reverse=True)
    heights = []
    for step in range(metric.steps + 1):
        shown = (picture if isinstance(metric, Deletion) else other).copy()
        for i, value in enumerate(values):
            if step == metric.steps or value > order[step * len(values) // metric.steps]:
                at = (slice(None), i // width, i % width)
                shown[at] = (other if isinstance(metric, Deletion) else picture)[at]
        heights.append(float(model(torch.from_numpy(shown)[None]).softmax(1)[0, target]))
    if metric.area == "mean":
        return sum(heights[:-1]) / metric.steps
    return float(np.trapezoid(heights, np.linspace(0, 1, metric.steps + 1)))


@pytest.mark.parametrize("metric", CURVES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_curves_are_those_of_a_loop_over_pixels(metric: Curve, kind: str, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2))
    ranked, other = maps_of(kind, 2), maps_of("plain", 2).flip(3)
    attacked = isinstance(metric, AdversarialInsertion)
    found = metric.score(with_maps(case, other, ranked) if attacked else with_maps(case, ranked, other))
    for score, x, row, target in zip(found.tolist(), case.clean, ranked, case.target.tolist(), strict=True):
        with torch.no_grad():
            wanted = area_by_hand(metric, case.model, x, row.flatten().tolist(), target)
        assert score == pytest.approx(wanted, abs=1e-9)


def test_curves_of_colour_images_change_all_channels_of_a_pixel() -> None:
    data = vectors("metrics_aga")
    model = nn.Sequential(Normalize((0.2, 0.4, 0.6), (0.5, 0.6, 0.7)), tiny_network(data, "S", nn.Softplus)).double()
    x, maps = data["x"][:2].clamp(0, 1), data["map_a"][:2]
    case = Case(
        model=model,
        clean=x,
        attacked=x,
        target=data["y"][:2],
        explain=lambda *_: maps[:, None].expand_as(x),
        reduce=lambda raw: raw[:, 0],
        partners=x,
        seed=0,
        ids=range(2),
    )
    for metric in (Insertion(steps=6), Insertion(steps=6, fill="blur"), Deletion(steps=6)):
        with torch.no_grad():
            wanted = [
                area_by_hand(metric, model, image, row.flatten().tolist(), int(y))
                for image, row, y in zip(x, maps, case.target, strict=True)
            ]
        assert metric.score(case).tolist() == pytest.approx(wanted, abs=1e-9)


def test_masks_of_insertion_are_those_of_the_official_code() -> None:
    data = vectors("metrics_aga")
    maps = data["map_a"]
    blank = torch.ones(len(maps), 1, 16, 16, dtype=torch.float64)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 2)).double().eval()
    recorder = Recorder(flat)
    case = Case(
        model=recorder,
        clean=blank,
        attacked=blank,
        target=torch.zeros(len(maps), dtype=torch.int64),
        explain=lambda *_: maps[:, None],
        reduce=lambda raw: raw[:, 0],
        partners=blank,
        seed=0,
        ids=range(len(maps)),
    )
    Insertion(fill="black", area="mean").score(case)
    inserted = torch.stack(recorder.seen)[:, :, 0].bool()
    assert torch.equal(inserted, data["insertion_masks"])
    recorder.seen.clear()
    Deletion(fill="black", area="mean").score(case)
    left = torch.stack(recorder.seen)[:, :, 0].bool()
    assert torch.equal(left, ~data["insertion_masks"])
    # What the official deletion leaves is without the pixel at the threshold too.
    largest_left = maps.expand(20, -1, -1, -1).masked_fill(~left, -math.inf).amax(dim=(2, 3), keepdim=True)
    assert torch.equal(left & (maps < largest_left), data["deletion_masks"])


@pytest.mark.parametrize("adversarial", [False, True])
def test_the_curve_is_that_of_the_official_code(adversarial: bool) -> None:
    data = vectors("metrics_aga")
    network = tiny_network(data, "S", lambda: nn.Softplus(beta=3))
    recorder = Recorder(network)
    x, other = data["x"], data["x"].flip(3)
    metric = (AdversarialInsertion if adversarial else Insertion)(area="mean")
    explained = other if adversarial else x
    maps = Saliency()(network, x, data["y"])
    case = Case(
        model=recorder,
        clean=x,
        attacked=other,
        target=data["y"],
        explain=lambda images, _: maps if images is explained else maps.flip(3),
        reduce=lambda raw: reduce_map(raw, "abs-sum"),
        partners=x,
        seed=0,
        ids=range(len(x)),
    )
    found = metric.score(case)
    heights = torch.stack([logits.softmax(1)[range(len(x)), data["y"]].mean() for logits in recorder.said])
    close(heights, data["aopc_grad_prob"])
    close(found.mean(), data["aopc_grad_prob"].mean())


@pytest.mark.parametrize("steps", [4, 20])
def test_a_constant_map_exchanges_nothing_before_the_end(steps: int, make_relu_case: MakeCase) -> None:
    case = make_relu_case(explainer=Constant())
    chosen = (torch.arange(len(case.clean)), case.target)
    with torch.no_grad():
        whole = case.model(case.clean).softmax(1)[chosen]
        empty = case.model(torch.zeros_like(case.clean)).softmax(1)[chosen]
    last = 1 / (2 * steps)
    assert torch.allclose(Insertion(steps=steps, fill="black").score(case), (1 - last) * empty + last * whole)
    assert torch.allclose(Deletion(steps=steps, fill="black").score(case), (1 - last) * whole + last * empty)
    assert torch.allclose(Insertion(steps=steps, fill="black", area="mean").score(case), empty)


@pytest.mark.parametrize("metric", CURVES, ids=str)
def test_curves_mind_order_alone(metric: Curve, make_relu_case: MakeCase) -> None:
    case, raw = make_relu_case(slice(0, 2)), maps_of("tied", 2)
    assert torch.equal(metric.score(with_maps(case, raw)), metric.score(with_maps(case, (raw / 9).exp())))
    assert not torch.equal(metric.score(with_maps(case, raw)), metric.score(with_maps(case, -raw)))


def test_the_mean_colour_is_zero_in_normalised_units(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2), explainer=Constant())
    recorder = Recorder(case.model)
    Insertion(steps=2).score(replace(case, model=recorder))
    normalize = next(module for module in case.model.modules() if isinstance(module, Normalize))
    assert normalize(recorder.seen[0]).abs().max() < 1e-7
    assert torch.equal(recorder.seen[-1], case.clean)


def test_where_nothing_attacked_adversarial_insertion_is_insertion(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3), unattacked=True)
    assert torch.equal(AdversarialInsertion().score(case), Insertion().score(case))
    attacked = make_relu_case(slice(0, 3))
    assert not torch.equal(AdversarialInsertion().score(attacked), Insertion().score(attacked))


def test_a_blurred_flat_image_of_the_mean_colour_stays() -> None:
    flat = torch.full((2, 3, 4, 9), 0.3, dtype=torch.float64)
    assert torch.allclose(blurred(flat, 0.3), flat)
    assert float(blurred(flat, 0.0)[0, 0, 0, 0]) < 0.2


# Infidelity.


def recorded(metric: Infidelity, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, and the images that were shown: the clean one, samples×B×C×H×W moved ones."""
    recorder = Recorder(case.model)
    scores = metric.score(replace(case, model=recorder))
    return scores, recorder.seen[0], torch.stack(recorder.seen[1:])


@pytest.mark.parametrize("metric", INFIDELITIES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "sparse", "constant", "tiny"])
def test_infidelity_is_that_of_a_loop_over_draws(metric: Infidelity, kind: str, make_relu_case: MakeCase) -> None:
    case, maps = make_relu_case(slice(0, 3)), maps_of(kind)
    scores, clean, moved = recorded(metric, with_maps(case, maps))
    assert torch.equal(clean, case.clean)
    assert len(moved) == metric.samples
    for b, score in enumerate(scores.tolist()):
        # The best factor undoes a factor of the map.
        size = 1.0 if metric.factor == "none" else float(maps[b].abs().max())
        target, phi = int(case.target[b]), maps[b].numpy() / size
        with torch.no_grad():
            before = float(case.model(clean[b : b + 1])[0, target])
            change = [before - float(case.model(image[b : b + 1])[0, target]) for image in moved]
        weights = [(clean[b] - image[b]).numpy() for image in moved]
        if metric.attribution == "share":
            # A pixel of the fill colour is removed as well, and does not show.
            boxes = [square_around(weight != 0) for weight in weights]
            weights = [box.astype(float) for box in boxes]
        foretold = [sum((phi * weight).flatten().tolist()) for weight in weights]
        factor = 1.0
        if metric.factor != "none":
            factor = np.dot(foretold, change) / np.dot(foretold, foretold)
        wanted = float(np.mean([(factor * a - d) ** 2 for a, d in zip(foretold, change, strict=True)]))
        if metric.factor == "relative":
            wanted /= float(np.mean(np.square(change)))
            cosine = np.dot(foretold, change) / math.dist(foretold, [0] * 6) / math.dist(change, [0] * 6)
            assert wanted == pytest.approx(1 - cosine**2, abs=1e-9)
        assert score == pytest.approx(wanted, rel=1e-7, abs=1e-9)


def square_around(changed: np.ndarray) -> np.ndarray:
    """The smallest box around what changed."""
    box = np.zeros_like(changed)
    rows, columns = np.flatnonzero(changed.any(axis=(0, 2))), np.flatnonzero(changed.any(axis=(0, 1)))
    box[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


@pytest.mark.parametrize("factor", ["none", "optimal"])
@pytest.mark.parametrize("perturbation", ["noise", "baseline", "square"])
def test_infidelity_is_captums_for_the_same_draws(factor: str, perturbation: str, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    metric = Infidelity(factor=factor, perturbation=perturbation, samples=5)  # type: ignore[arg-type]
    scores, clean, moved = recorded(metric, case)
    images = moved.transpose(0, 1).flatten(0, 1)
    wanted = captum.metrics.infidelity(
        case.model,
        lambda x: (x - images, images),
        clean,
        case.clean_attributions,
        target=case.target,
        n_perturb_samples=5,
        normalize=factor == "optimal",
    )
    assert torch.allclose(scores, wanted.detach(), rtol=1e-8)


@pytest.mark.parametrize("perturbation", ["noise", "baseline", "square"])
def test_gradients_of_a_linear_network_have_no_infidelity(perturbation: str, make_relu_case: MakeCase) -> None:
    case = of_network(make_relu_case(slice(0, 3)), Linear())
    for factor in ("none", "optimal", "relative"):
        metric = Infidelity(factor=factor, perturbation=perturbation, samples=9)  # type: ignore[arg-type]
        assert (metric.score(case) < 1e-20).all()
    ignorant = Infidelity(perturbation=perturbation).score(with_maps(case, maps_of("plain")))  # type: ignore[arg-type]
    # Baselines share x minus the fill colour, which one factor fits for any map: only the others say nothing of it.
    assert (ignorant > (0.1 if perturbation == "baseline" else 0.5)).all()


def test_contributions_in_a_linear_network_have_no_infidelity_as_shares(make_relu_case: MakeCase) -> None:
    case = of_network(make_relu_case(slice(0, 3)), Linear())
    shares = case.clean_attributions * (case.clean - input_mean(case.model))
    metric = Infidelity(factor="none", perturbation="square", attribution="share")
    assert (metric.score(with_maps(case, shares)) < 1e-20).all()
    assert (metric.score(case) > 1e-3).all()
    assert (replace(metric, attribution="slope").score(with_maps(case, shares)) > 1e-3).all()


def test_noise_and_baseline_are_what_they_say(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    draws = [ImageStreams(case.seed, [i], "infidelity") for i in range(3)]
    _, clean, noisy = recorded(Infidelity(sigma=0.3, samples=4), case)
    _, _, replaced = recorded(Infidelity(sigma=0.3, samples=4, perturbation="baseline"), case)
    mean = float(input_mean(case.model))
    for sample in range(4):
        for b in range(3):
            noise = 0.3 * draws[b].normal(clean[b : b + 1])[0]
            assert torch.allclose(noisy[sample, b], clean[b] - noise, atol=1e-12)
            assert torch.allclose(replaced[sample, b], (mean + noise).clamp(0, 1), atol=1e-7)
    assert float((clean - noisy).std()) == pytest.approx(0.3, rel=0.03)


def test_squares_of_every_side_and_place_are_as_likely_and_inside() -> None:
    draws = ImageStreams(0, range(6000), "squares").uniform(torch.empty(6000, 3, dtype=torch.float64))
    found = squares(draws, 3, 4, 5)
    places = []
    for square in found.numpy():
        rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
        assert len(rows) == len(columns)
        assert square.sum() == len(rows) ** 2
        places.append((len(rows), int(rows[0]), int(columns[0])))
    for side in (1, 2, 3):
        every = list(itertools.product([side], range(5 - side), range(6 - side)))
        counts = [places.count(place) for place in every]
        assert scipy.stats.chisquare(counts, [2000 / len(every)] * len(every), sum_check=False).pvalue > 1e-3
    assert set(places) == {p for s in (1, 2, 3) for p in itertools.product([s], range(5 - s), range(6 - s))}


def test_a_draw_that_is_rounded_to_the_end_is_still_inside() -> None:
    large, last = squares(torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]), 3, 4, 5)
    assert large.nonzero().tolist() == list(map(list, itertools.product(range(3), range(3))))
    assert last.nonzero().tolist() == [[3, 4]]


def test_a_square_has_the_fill_colour(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    for fill, colour in (("mean", float(input_mean(case.model))), ("black", 0.0)):
        metric = Infidelity(perturbation="square", fill=fill, samples=8)  # type: ignore[arg-type]
        _, clean, moved = recorded(metric, case)
        changed = moved[moved != clean]
        assert len(changed)
        assert torch.allclose(changed, torch.full_like(changed, colour))


def test_only_the_papers_infidelity_depends_on_the_size_of_maps_and_logits(make_relu_case: MakeCase) -> None:
    small, large = (of_network(make_relu_case(slice(0, 3)), Linear(factor)) for factor in (1.0, 10.0))
    large = replace(large, target=small.target)
    noise = maps_of("plain")
    a, b = with_maps(small, small.clean_attributions + noise), with_maps(large, large.clean_attributions + 10 * noise)
    relative, optimal, plain = (Infidelity(factor=factor) for factor in ("relative", "optimal", "none"))  # type: ignore[arg-type]
    assert torch.allclose(relative.score(a), relative.score(b))
    assert torch.allclose(100 * plain.score(a), plain.score(b), rtol=1e-5)
    for factor in (-1.0, 1e-250, 1e250):
        scaled = with_maps(small, factor * (small.clean_attributions + noise))
        assert torch.allclose(relative.score(a), relative.score(scaled))
        assert torch.allclose(optimal.score(a), optimal.score(scaled))


def test_what_infidelity_says_of_maps_of_zeros_and_of_a_flat_network(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3), factor=0.0)
    plain = Infidelity(factor="none", samples=5)
    scores, clean, moved = recorded(plain, case)
    with torch.no_grad():
        logits = torch.stack([case.model(x)[range(3), case.target] for x in (clean, *moved)])
    assert torch.allclose(scores, (logits[0] - logits[1:]).square().mean(dim=0))
    for factor in ("optimal", "relative"):
        assert Infidelity(factor=factor, samples=5).score(case).isnan().all()  # type: ignore[arg-type]
    flat = with_maps(of_network(case, Linear(0.0)), maps_of("plain"))
    assert Infidelity().score(flat).isnan().all()
    assert Infidelity(factor="optimal").score(flat).tolist() == [0.0] * 3


# Sensitivity.


def moved_images(metric: Sensitivity, case: Case) -> list[Tensor]:
    """The draws of every image, samples of B×C×H×W."""
    streams = [ImageStreams(case.seed, [i], "sensitivity") for i in case.ids]
    return [
        torch.cat(
            [x[None] + metric.radius * stream.uniform(x[None]) for x, stream in zip(case.clean, streams, strict=True)]
        )
        for _ in range(metric.samples)
    ]


@pytest.mark.parametrize("metric", SENSITIVITIES, ids=str)
def test_sensitivity_is_that_of_a_loop_over_draws(metric: Sensitivity, make_relu_case: MakeCase) -> None:
    case = make_relu_case()
    draws, dropped = moved_images(metric, case), 0
    for b, score in enumerate(metric.score(case).tolist()):
        x, y = case.clean[b : b + 1], case.target[b : b + 1]
        base, changes = case.explain(x, y).flatten().tolist(), []
        for draw in draws:
            image = draw[b : b + 1]
            if metric.flips == "drop" and int(case.model(image).argmax()) != int(case.model(x).argmax()):
                dropped += 1
                continue
            changes.append(math.dist(case.explain(image, y).flatten().tolist(), base) / math.dist(base, [0] * 784))
        if not changes:
            assert math.isnan(score)
            continue
        wanted = max(changes) if isinstance(metric, MaxSensitivity) else sum(changes) / len(changes)
        assert score == pytest.approx(wanted, rel=1e-9)
    assert (metric.flips == "drop") == (0 < dropped < 72)


def test_max_sensitivity_is_captums_for_the_same_draws(make_relu_case: MakeCase) -> None:
    case, metric = make_relu_case(slice(0, 3)), MaxSensitivity(samples=4)
    images = torch.stack(moved_images(metric, case), dim=1).flatten(0, 1)
    wanted = captum.metrics.sensitivity_max(
        lambda x, target: (case.explain(x[0] if isinstance(x, tuple) else x, target),),
        case.clean,
        perturb_func=lambda _: images,
        n_perturb_samples=4,
        target=case.target,
    )
    assert torch.allclose(metric.score(case), wanted, rtol=1e-9)


def test_draws_fill_the_ball_and_leave_the_pixel_box(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2))
    shown: list[Tensor] = []

    def explain(x: Tensor, y: Tensor) -> Tensor:
        shown.append(x)
        return case.explain(x, y)

    MaxSensitivity(samples=3, radius=0.1).score(replace(case, explain=explain))
    moves = torch.stack(shown[1:]) - case.clean
    assert 0.0999 < float(moves.abs().max()) <= 0.1 + 1e-12
    assert float(moves.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.03)
    assert min(float(x.min()) for x in shown) < -0.09


def test_the_largest_change_is_never_below_the_mean_one(make_relu_case: MakeCase) -> None:
    assert (MaxSensitivity().score(make_relu_case()) > AvgSensitivity().score(make_relu_case())).all()
    one = (cls(samples=1).score(make_relu_case(slice(0, 3))) for cls in (MaxSensitivity, AvgSensitivity))
    assert torch.equal(*one)


@pytest.mark.parametrize("cls", [MaxSensitivity, AvgSensitivity])
def test_sensitivity_of_maps_that_do_not_move_that_are_zero_and_that_are_larger(
    cls: type[Sensitivity], make_relu_case: MakeCase
) -> None:
    metric = cls(samples=3)
    assert metric.score(make_relu_case(slice(0, 3), explainer=Constant())).tolist() == [0.0] * 3
    assert (metric.score(of_network(make_relu_case(slice(0, 3)), Linear())) < 1e-12).all()
    assert metric.score(make_relu_case(slice(0, 3), factor=0.0)).isnan().all()
    wanted = metric.score(make_relu_case(slice(0, 3)))
    assert torch.allclose(metric.score(make_relu_case(slice(0, 3), factor=-1e200)), wanted)


@pytest.mark.parametrize("cls", [MaxSensitivity, AvgSensitivity])
def test_without_a_draw_that_keeps_the_prediction_there_is_no_score(
    cls: type[Sensitivity], make_relu_case: MakeCase
) -> None:
    class Shy(nn.Module):
        """Class 0 inside [0, 1], class 1 outside."""

        def forward(self, x: Tensor) -> Tensor:
            outside = ((x < 0) | (x > 1)).flatten(1).any(dim=1).to(x)
            return torch.stack([1 - outside, outside], dim=1)

    case = make_relu_case(slice(0, 3))
    shy = replace(case, model=Shy())
    assert cls(flips="drop", samples=2).score(shy).isnan().all()
    assert torch.equal(cls(samples=2).score(shy), cls(samples=2).score(case))


@pytest.mark.parametrize("metric", SENSITIVITIES[:2], ids=str)
def test_a_map_of_a_moved_image_that_is_not_finite_leaves_no_score(
    metric: Sensitivity, make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 3))
    calls = itertools.count()

    def spoiled(x: Tensor, y: Tensor) -> Tensor:
        maps = case.explain(x, y)
        if next(calls) == 1:
            maps[1, 0, 3, 3] = math.inf
            maps[2, 0, 3, 3] = math.nan
        return maps

    assert metric.score(replace(case, explain=spoiled)).isnan().tolist() == [False, True, True]


# Sparsity.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [7, 28])
def test_the_gini_index_is_the_mean_difference_of_all_pairs(kind: str, side: int, make_relu_case: MakeCase) -> None:
    maps = maps_of(kind, 3, side)
    found = Gini().score(with_maps(make_relu_case(slice(0, 3)), maps))
    for score, row in zip(found.tolist(), maps.flatten(1).numpy(), strict=True):
        size = np.abs(row) / np.abs(row).max()
        wanted = float(np.abs(size[:, None] - size).mean()) / (2 * float(size.mean()))
        assert score == pytest.approx(wanted, abs=1e-12)


def test_the_gini_index_is_largest_for_one_pixel_zero_for_a_constant_and_undefined_for_nothing(
    make_relu_case: MakeCase,
) -> None:
    maps = torch.zeros(3, 1, 224, 224, dtype=torch.float64)
    maps[0, 0, 5, 6] = -3.0
    maps[1] = -0.1
    one, constant, nothing = Gini().score(with_maps(make_relu_case(slice(0, 3)), maps)).tolist()
    assert one == pytest.approx(1 - 1 / 224**2, abs=1e-12)
    assert constant == 0.0
    assert math.isnan(nothing)


# Localization.


def top_by_hand(values: list[float], inside: list[bool], count: int) -> float:
    """The mean over all orders in which equal values may be taken."""
    hits = []
    for order in itertools.permutations(range(len(values))):
        chosen = sorted(order, key=lambda i: -values[i])[:count]
        hits.append(sum(inside[i] for i in chosen) / count)
    return sum(hits) / len(hits)


@pytest.mark.parametrize("by", ["pointing", "top"])
def test_equal_values_count_as_if_any_order_of_them_were_as_likely(by: str, make_relu_case: MakeCase) -> None:
    draws = np.random.default_rng(0)
    maps = torch.from_numpy(draws.integers(-1, 3, (40, 1, 2, 3))).double()
    # Images are looked at for their number and size alone.
    masks = torch.from_numpy(draws.random((40, 2, 3)) < 0.5)
    case = replace(with_maps(make_relu_case(slice(0, 3)), maps), clean=torch.zeros_like(maps), masks=masks)
    scores = Localization(by=by).score(case)  # type: ignore[arg-type]
    defined = 0
    for score, row, mask in zip(scores.tolist(), maps, masks, strict=True):
        values, inside = row.flatten().tolist(), mask.flatten().tolist()
        if not any(inside) or all(inside) or not any(values):
            assert math.isnan(score)
            continue
        defined += 1
        assert score == pytest.approx(top_by_hand(values, inside, 1 if by == "pointing" else sum(inside)), abs=1e-12)
    assert defined > 30


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_the_share_of_absolute_values_inside(kind: str, make_relu_case: MakeCase) -> None:
    case, maps = make_relu_case(slice(0, 3)), maps_of(kind)
    assert case.masks is not None
    scores = Localization(by="energy").score(with_maps(case, maps))
    for score, row, mask in zip(scores.tolist(), maps[:, 0].numpy(), case.masks.numpy(), strict=True):
        size = np.abs(row) / np.abs(row).max()
        inside = sum(float(size[i, j]) for i in range(28) for j in range(28) if mask[i, j])
        assert score == pytest.approx(inside / float(size.sum()), abs=1e-12)


@pytest.mark.parametrize("metric", MASKED, ids=str)
def test_a_map_of_the_object_is_all_inside_and_one_that_knows_nothing_has_the_masks_share(
    metric: Localization, make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 3))
    assert case.masks is not None
    area = case.masks.double().mean(dim=(1, 2))
    inside = case.masks[:, None].double()
    assert torch.allclose(metric.score(with_maps(case, torch.ones_like(inside))), area)
    assert torch.equal(metric.score(with_maps(case, inside)), torch.ones(3, dtype=torch.float64))
    assert torch.equal(metric.score(with_maps(case, 1 - inside)), torch.zeros(3, dtype=torch.float64))
    assert metric.score(with_maps(case, 0 * inside)).isnan().all()


@pytest.mark.parametrize("metric", MASKED, ids=str)
def test_a_mask_of_nothing_or_of_everything_says_nothing(metric: Localization, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    masks = torch.zeros(3, 28, 28, dtype=torch.bool)
    masks[1] = True
    masks[2, 4:9] = True
    assert metric.score(replace(case, masks=masks)).isnan().tolist() == [True, True, False]


def test_without_masks_localization_says_so(make_relu_case: MakeCase) -> None:
    with pytest.raises(ValueError, match="localization needs masks"):
        Localization().score(replace(make_relu_case(slice(0, 3)), masks=None))


# Settings.


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("insertion", {"steps": "0"}, "steps=0 must be at least 1"),
        ("insertion", {"fill": "white"}, "mean, black, blur"),
        ("max-sensitivity", {"radius": "0"}, "radius must be above 0"),
        ("avg-sensitivity", {"samples": "0"}, "samples=0 must be at least 1"),
        ("infidelity", {"samples": "1"}, "fits a single draw"),
        ("infidelity", {"samples": "0", "factor": "none"}, "samples=0 must be at least 1"),
        ("infidelity", {"sigma": "0"}, "sigma must be above 0"),
        ("infidelity", {"side": "0"}, "side=0 must be at least 1"),
        ("infidelity", {"attribution": "share"}, "attribution=share needs perturbation=square"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        build(registry.get(name), Spec(name, settings))


def test_steps_and_squares_must_fit_the_images() -> None:
    Insertion(steps=64).check_size(8, 8)
    with pytest.raises(ValueError, match="steps=65 are more than the 64 pixels"):
        Deletion(steps=65).check_size(8, 8)
    Infidelity(perturbation="square").check_size(10, 12)
    Infidelity().check_size(8, 8)
    with pytest.raises(ValueError, match="side=10 is more than the 9 pixels"):
        Infidelity(perturbation="square").check_size(12, 9)
