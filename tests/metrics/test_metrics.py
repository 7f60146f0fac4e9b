"""The contracts of similarities and qualities, over everything registered, against scipy and brute force."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from attrobust.attacks.objectives import scores
from attrobust.explainers.saliency import Saliency
from attrobust.maps.ranks import sorted_ranks
from attrobust.maps.reduction import reduce_map
from attrobust.metrics import registry
from attrobust.metrics.base import CaseMetric, Metric, Quality, Similarity, SpatialSimilarity
from attrobust.metrics.curvature.hessian import HessianNorm
from attrobust.metrics.faithfulness.infidelity import Infidelity
from attrobust.metrics.shared.retraining import RetrainingMetric
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.metrics.similarity.lens import Lens, LensPrecision, LensRecall
from attrobust.metrics.similarity.mass_center import MassCenter
from attrobust.metrics.similarity.normalized_l2 import NormalizedL2
from attrobust.metrics.similarity.pearson import Pearson
from attrobust.metrics.similarity.ssim import SSIM
from attrobust.metrics.similarity.target_similarity import TargetSimilarity
from attrobust.metrics.similarity.topk import TopK
from attrobust.metrics.similarity.wasserstein import Wasserstein
from attrobust.naming.spec import build, parse_specs
from attrobust.types import Amount

from helpers.cases import FEW, MakeCase
from helpers.order import tau_b
from helpers.vectors import close, vectors

SIMILARITIES = [name for name in registry.names() if issubclass(registry.get(name), Similarity)]
QUALITIES = [name for name in registry.names() if issubclass(registry.get(name), Quality)]
RETRAINING_METRICS = [name for name in registry.names() if issubclass(registry.get(name), RetrainingMetric)]
CASE_METRICS = sorted(SIMILARITIES + QUALITIES)
SIDE = 12


def maps(kind: str, seed: int, count: int = 5, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, side, side, generator=generator, dtype=torch.float64)
    if kind == "tied":
        return (3 * values).round()
    if kind == "sparse":
        return torch.where(values > 1.5, values, torch.zeros_like(values))
    if kind == "huge":
        return 1e300 * values.clamp(-1, 1)
    if kind == "tiny":
        return 1e-300 * values
    if kind == "positive":
        return values.abs()
    return values


def oracle(metric: Similarity, a: np.ndarray, b: np.ndarray) -> float:
    """An independent computation for one pair of maps, H×W."""
    if isinstance(metric, SSIM):
        return stock_ssim(metric, a, b)
    largest = [max(float(np.abs(values).max()), 5e-324) for values in (a, b)]
    a, b = a / largest[0], b / largest[1]
    match metric:
        case TopK():
            if metric.of == "abs":
                a, b = np.abs(a), np.abs(b)
            k = metric.k.of(a.size)
            return len(top(a.flatten(), k) & top(b.flatten(), k)) / k
        case Lens():
            wide, narrow = (a, b) if isinstance(metric, LensRecall) else (b, a)
            k = metric.k.of(a.size)
            around = windows(top(wide.flatten(), k), metric.window, *a.shape)
            return len(around & top(narrow.flatten(), k)) / k
        case NormalizedL2():
            norms = {"l2": lambda v: math.dist(v, 0 * v), "sum": lambda v: float(np.abs(v).sum()), "max": lambda _: 1.0}
            distance = math.dist(*(values / norms[metric.by](values) for values in (a.flatten(), b.flatten())))
            return {"norm": distance, "square": distance**2, "mse": distance**2 / a.size}[metric.form]
        case MassCenter():
            centers = [scipy.ndimage.center_of_mass(np.abs(values)) for values in (a, b)]
            return math.dist(*([int(x) if metric.truncate else x for x in center] for center in centers))
        case Wasserstein():
            rows, columns = np.indices(a.shape).reshape(2, -1)
            angles = [math.pi * i / metric.angles for i in range(metric.angles)]
            places = [math.cos(angle) * rows + math.sin(angle) * columns for angle in angles]
            weights = [np.abs(values).flatten() for values in (a, b)]
            return float(np.mean([scipy.stats.wasserstein_distance(x, x, *weights) for x in places]))
    a, b = a.flatten(), b.flatten()
    match next(name for name in SIMILARITIES if registry.get(name) is type(metric)):
        case "spearman":
            return float(scipy.stats.spearmanr(a, b).statistic)
        case "kendall":
            return tau_b(a, b)
        case "pearson":
            return float(scipy.stats.pearsonr(a, b).statistic)
        case "cosine":
            return math.fsum(a * b) / math.dist(a, 0 * a) / math.dist(b, 0 * b)
        case other:
            raise AssertionError(f"write an oracle for {other}")


def top(values: np.ndarray, k: int) -> set[int]:
    return set(sorted(range(len(values)), key=lambda i: (-values[i], i))[:k])


def windows(pixels: set[int], window: int, height: int, width: int) -> set[int]:
    """Pixels at most half a window away from one of those given, in rows and in columns."""
    reach = range(-(window // 2), window // 2 + 1)
    near = {(pixel // width + i, pixel % width + j) for pixel in pixels for i in reach for j in reach}
    return {row * width + column for row, column in near if 0 <= row < height and 0 <= column < width}


def stock_ssim(metric: SSIM, a: np.ndarray, b: np.ndarray) -> float:
    """scikit-image's; zeros outside are those of a padded map, Gaussian windows end at 3.5 sigma."""
    if metric.range == "value":
        span = metric.value
    else:
        unit = float(np.abs(a).max())
        a, b = a / unit, b / unit
        span = float(np.ptp({"clean": a, "attacked": b, "both": np.stack([a, b])}[metric.range]))
    if metric.edges == "zero":
        a, b = (np.pad(values, metric.size // 2) for values in (a, b))
    settings: dict[str, object] = {"win_size": metric.size}
    if metric.window == "gaussian":
        settings = {"gaussian_weights": True, "sigma": metric.sigma}
        assert metric.size // 2 == int(3.5 * metric.sigma + 0.5)
    sample = metric.covariance == "sample"
    return float(structural_similarity(a, b, data_range=span, use_sample_covariance=sample, **settings))


def pixels(k: int) -> Amount:
    return Amount(k, percent=False)


def variants() -> list[Similarity]:
    found = [registry.get(name)() for name in SIMILARITIES]
    return [
        *(metric for metric in found if isinstance(metric, Similarity)),
        TopK(k=pixels(7)),
        TopK(k=Amount(100, percent=True)),
        TopK(of="abs"),
        NormalizedL2(by="sum"),
        NormalizedL2(by="max"),
        NormalizedL2(by="max", form="square"),
        NormalizedL2(by="sum", form="mse"),
        LensRecall(k=pixels(7), window=5),
        LensPrecision(k=pixels(7), window=7),
        MassCenter(truncate=True),
        Wasserstein(angles=3),
        SSIM(window="gaussian", size=11, covariance="population", range="both"),
        SSIM(window="gaussian", sigma=0.9, edges="zero", covariance="population"),
        SSIM(size=5, edges="zero", range="attacked"),
    ]


CLAIMS: dict[str, set[str]] = {
    "cosine": {"scale", "order of pixels"},
    "kendall": {"scale", "shift", "monotone", "order of pixels"},
    "lens-precision": {"scale", "shift", "monotone"},
    "lens-recall": {"scale", "shift", "monotone"},
    "mass-center": {"scale", "sign"},
    "normalized-l2": {"scale", "order of pixels"},
    "pearson": {"scale", "shift", "order of pixels"},
    "spearman": {"scale", "shift", "monotone", "order of pixels"},
    "ssim": set(),
    "topk": {"scale", "shift", "monotone", "order of pixels"},
    "wasserstein": {"scale", "sign"},
}
"""What a similarity with its default settings does not mind; it minds all the others."""
CHANGES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "scale": lambda a, b: (1e-5 * a, 1e7 * b),
    "shift": lambda a, b: (a + 3, b - 1),
    "sign": lambda a, b: (a, -b),
    "monotone": lambda a, b: (a.exp(), b**3),
    "order of pixels": lambda a, b: (shuffled(a), shuffled(b)),
}


def shuffled(values: Tensor) -> Tensor:
    order = torch.randperm(SIDE**2, generator=torch.Generator().manual_seed(0))
    return values.flatten(1)[:, order].view_as(values)


@pytest.mark.parametrize("metric", variants(), ids=str)
@pytest.mark.parametrize("kind", ["plain", "tied", "sparse", "huge", "tiny", "positive"])
def test_equal_to_an_independent_computation(metric: Similarity, kind: str) -> None:
    a, b = maps(kind, 0), maps(kind, 1)
    found = metric(a, b)
    assert found.dtype == torch.float64
    for row, left, right in zip(found.tolist(), a, b, strict=True):
        assert row == pytest.approx(oracle(metric, left.numpy(), right.numpy()), abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_equal_to_an_independent_computation_on_imagenet_sized_maps(metric: Similarity) -> None:
    a, b = maps("tied", 0, 1, 224), maps("tied", 1, 1, 224)
    wanted = oracle(metric, a[0].numpy(), b[0].numpy())
    assert float(metric(a, b)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_equal_to_an_independent_computation_on_real_maps(
    metric: Similarity, network: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    x, y = (part[:4] for part in real_images)
    a, b = (reduce_map(Saliency()(network, images, y), "abs-sum") for images in (x, (x + 0.05).clamp(0, 1)))
    for row, left, right in zip(metric(a, b).tolist(), a.double(), b.double(), strict=True):
        assert row == pytest.approx(oracle(metric, left.numpy(), right.numpy()), abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_a_map_agrees_with_itself_as_well_as_possible_and_bounds_hold(metric: Similarity) -> None:
    a, b = maps("tied", 0), maps("plain", 1)
    low, high = metric.bounds
    best = high if metric.higher_is_better else low
    assert metric(a, a).tolist() == pytest.approx([best] * len(a), abs=1e-12)
    for values in (metric(a, b), metric(a, -a)):
        assert ((values >= low) & (values <= high)).all()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_similarity_minds_what_it_does_not_claim_to_ignore(name: str, change: str) -> None:
    metric, a, b = registry.get(name)(), maps("plain", 0), maps("plain", 1)
    same = torch.allclose(metric(a, b), metric(*CHANGES[change](a, b)), rtol=1e-9)
    assert same == (change in CLAIMS[name])


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_one_positive_scale_of_both_maps_does_not_matter(metric: Similarity) -> None:
    a, b = maps("plain", 0), maps("plain", 1)
    for scale in (1e-300, 1e7, 1e300):
        assert torch.allclose(metric(a, b), metric(scale * a, scale * b), rtol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", variants(), ids=str)
@pytest.mark.parametrize("kind", ["plain", "tied", "sparse"])
def test_a_gpu_finds_what_a_cpu_does(metric: Similarity, kind: str) -> None:
    a, b = maps(kind, 0), maps(kind, 1)
    found = metric(a.cuda(), b.cuda())
    assert found.is_cuda
    assert torch.allclose(found.cpu(), metric(a, b), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_of_no_images_there_are_no_scores(metric: Similarity) -> None:
    assert metric(torch.zeros(0, SIDE, SIDE), torch.zeros(0, SIDE, SIDE)).shape == (0,)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_an_image_does_not_depend_on_its_batch(metric: Similarity) -> None:
    a, b = maps("tied", 0), maps("tied", 1)
    together = metric(a, b)
    for i in range(len(a)):
        assert torch.equal(metric(a[i : i + 1], b[i : i + 1])[0], together[i])


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_undefined_is_nan_and_only_there(metric: Similarity) -> None:
    a = maps("plain", 0)
    b = maps("plain", 1)
    b[0] = 0.0
    b[1, 3, 3] = float("nan")
    b[2, 0, 0] = float("inf")
    # What is like a map without contrast is none: SSIM asks for contrast in the one that it takes the range of.
    empty = not isinstance(metric, SSIM) or metric.range == "attacked"
    assert metric(a, b).isnan().tolist() == [empty, True, True, False, False]
    assert metric(b, a).isnan().tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("value", [0.1, 1.0, -3.0, 1e300])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_constant_map_has_no_ranking_and_no_contrast(name: str, value: float) -> None:
    a = maps("plain", 0)
    constant = torch.full_like(a, value)
    metric = registry.get(name)()
    undefined = name in {"kendall", "lens-precision", "lens-recall", "pearson", "spearman", "topk"}
    assert metric(constant, a).isnan().tolist() == [undefined or name == "ssim"] * len(a)
    assert metric(a, constant).isnan().tolist() == [undefined] * len(a)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_shapes_that_do_not_compare_are_refused(metric: Similarity) -> None:
    with pytest.raises(ValueError, match="B×H×W"):
        metric(torch.zeros(2, 3, 3), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="B×H×W"):
        metric(torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3))


@pytest.mark.parametrize("kind", ["plain", "tied", "sparse"])
def test_ranks_are_the_mean_places_of_equal_values(kind: str) -> None:
    values = maps(kind, 0).flatten(1)
    wanted = [[(sum(v < x for v in row) + sum(v <= x for v in row) + 1) / 2 for x in row] for row in values.tolist()]
    assert sorted_ranks(values).tolist() == wanted


@pytest.mark.parametrize("height", [0.0, 10.0, 1e6])
def test_ssim_keeps_its_digits_where_the_other_map_has_a_range_of_its_own(height: float) -> None:
    a = maps("positive", 0)
    b = a.clone()
    b[:, :, SIDE - 3 :] += height
    for row, left, right in zip(SSIM()(a, b).tolist(), a.numpy(), b.numpy(), strict=True):
        x, y = (np.lib.stride_tricks.sliding_window_view(v.astype(np.longdouble), (7, 7)) for v in (left, right))
        (mean_x, mean_y), sample = (v.mean(axis=(2, 3)) for v in (x, y)), 49 / 48
        from_x, from_y = x - mean_x[:, :, None, None], y - mean_y[:, :, None, None]
        both, variances = (sample * v.mean(axis=(2, 3)) for v in (from_x * from_y, from_x**2 + from_y**2))
        c1, c2 = (0.01 * np.ptp(left)) ** 2, (0.03 * np.ptp(left)) ** 2
        wanted = (2 * mean_x * mean_y + c1) * (2 * both + c2) / (mean_x**2 + mean_y**2 + c1) / (variances + c2)
        assert row == pytest.approx(float(wanted.mean()), abs=1e-12)


def test_ssim_is_the_score_that_attacks_descend() -> None:
    a, b = maps("positive", 0), maps("positive", 1)
    assert torch.allclose(SSIM()(a, b), scores.ssim(a)(b), rtol=1e-12)


@pytest.mark.parametrize("pair", ["ab", "ba", "ac", "ca"])
def test_similarities_of_aga_are_those_of_its_official_code(pair: str) -> None:
    data = vectors("metrics_aga")
    first, second = (data[f"map_{name}"] for name in pair)
    # Its window is in float32. It takes the range of the first map; maps of its networks are divided by their maxima.
    official = SSIM(window="gaussian", edges="zero", covariance="population", range="clean")
    close(official(first, second), data[f"ssim_each_{pair}"])
    close(Cosine()(first, second), data[f"cossim_{pair}"], 1e-12)
    close(Pearson()(first, second) * 255 / 256, data[f"pcc_each_{pair}"], 1e-12)


def test_the_preset_of_aga_is_its_ssim_of_maps_divided_by_their_maxima() -> None:
    data = vectors("metrics_aga")
    a, b = data["map_a"], data["map_b"]
    divided = [values / values.abs().amax(dim=(1, 2), keepdim=True) for values in (a, b)]
    official = SSIM(window="gaussian", edges="zero", covariance="population", range="attacked")
    assert torch.allclose(preset(SSIM, "aga")(a, b), official(*divided), rtol=1e-12)


@pytest.mark.parametrize(
    ("k", "window", "side"), [(20, 3, 28), (100, 3, 28), (1000, 3, 227), (1000, 5, 227), (1000, 7, 227)]
)
def test_lens_is_that_of_the_official_code_but_for_its_windows_at_edges(k: int, window: int, side: int) -> None:
    data = vectors("lens" if side == 28 else "lens227")
    clean, attacked = (data[name].double().view(-1, side, side) for name in ("map_o", "map_p"))
    official = data[f"metrics_k{k}" if side == 28 else f"metrics_w{window}_k{k}"].view(-1, 6)
    reach = range(-(window // 2), window // 2 + 1)
    for row, a, b in zip(official.tolist(), clean, attacked, strict=True):
        tops = [top(values.flatten().tolist(), k) for values in (a, b)]
        # Positions in the flattened map, from 1 on.
        flat = [{p + side * i + j for p in pixels for i in reach for j in reach} - {0} for pixels in tops]
        assert row[:3] == pytest.approx(
            [len(tops[0] & tops[1]) / k, len(flat[0] & tops[1]) / k, len(tops[0] & flat[1]) / k], abs=1e-12
        )
        true = [windows(pixels, window, side, side) for pixels in tops]
        found = [kind(k=pixels(k), window=window)(a[None], b[None]).item() for kind in (LensRecall, LensPrecision)]
        assert found == pytest.approx([len(true[0] & tops[1]) / k, len(tops[0] & true[1]) / k], abs=1e-12)


def preset(kind: type[Metric], name: str) -> Any:
    settings = ",".join(f"{key}={value}" for key, value in kind.presets[name].items())
    return build(kind, parse_specs(f"metric:{settings}", "metric")[0])


@pytest.mark.parametrize(
    ("kind", "name"), [(registry.get(metric), name) for metric in SIMILARITIES for name in registry.get(metric).presets]
)
def test_presets_are_settings_that_exist(kind: type[Similarity], name: str) -> None:
    found = preset(kind, name)(maps("positive", 0, 2, 36), maps("positive", 1, 2, 36))
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (LensRecall, {"window": 4}, "window=4 must be odd"),
        (SSIM, {"size": 6}, "size=6 must be odd"),
        (SSIM, {"sigma": 0.0}, "sigma"),
        (SSIM, {"value": -1.0}, "value"),
        (Wasserstein, {"angles": 0}, "angles"),
        (MassCenter, {"maps": "channels"}, "maps=channels has no places"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type[Metric], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_maps_that_a_metric_is_too_large_for_are_refused_before_anything_is_run() -> None:
    SSIM(edges="zero").check_size(5, 9)
    for metric in (SSIM(), TopK(k=pixels(46)), LensRecall(k=pixels(46)), TargetSimilarity(by="ssim")):
        with pytest.raises(ValueError, match="5"):
            metric.check_size(5, 9)


def test_everything_registered_is_of_one_kind() -> None:
    assert sorted(SIMILARITIES + QUALITIES + RETRAINING_METRICS) == registry.names()


@pytest.mark.parametrize("name", CASE_METRICS)
def test_scores_of_a_case_are_float64_in_bounds_and_leave_it_alone(name: str, make_coarse_case: MakeCase) -> None:
    case = make_coarse_case()
    state, images = copy.deepcopy(case.model.state_dict()), (case.clean.clone(), case.attacked.clone())
    random_state, metric = torch.random.get_rng_state(), registry.get(name)(**FEW.get(name, {}))
    scores = metric.score(case)
    low, high = metric.bounds
    assert scores.dtype == torch.float64
    assert scores.shape == (len(case.clean),)
    assert ((scores >= low) & (scores <= high) | scores.isnan()).all()
    relu = any(isinstance(module, nn.ReLU) for module in case.model.modules())
    assert bool(scores.isnan().all()) is (relu and name == "aga-bound"), "kinks have no second derivative"
    assert not scores.requires_grad
    assert torch.equal(metric.score(case).nan_to_num(-9.0), scores.nan_to_num(-9.0))
    assert all(torch.equal(value, state[key]) for key, value in case.model.state_dict().items())
    assert not case.model.training
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in case.model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(case.clean, images[0])
    assert torch.equal(case.attacked, images[1])


@pytest.mark.parametrize("name", CASE_METRICS)
def test_a_score_of_a_case_does_not_depend_on_the_batch(name: str, make_coarse_case: MakeCase) -> None:
    metric = registry.get(name)(**FEW.get(name, {}))
    together = metric.score(make_coarse_case())
    alone = torch.cat([metric.score(make_coarse_case(slice(i, i + 1))) for i in range(len(together))])
    assert torch.allclose(alone, together, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in CASE_METRICS if registry.get(name).scope != "network"])
def test_maps_that_are_not_finite_have_no_score(name: str, make_coarse_case: MakeCase) -> None:
    assert registry.get(name)().score(make_coarse_case(factor=float("nan"))).isnan().all()


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_a_similarity_compares_the_maps_of_a_case(metric: Similarity, make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    before, after = (Saliency()(case.model, x, case.target).abs().sum(dim=1) for x in (case.clean, case.attacked))
    assert torch.equal(metric.score(case), metric(before, after))


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("chosen", ["sum", "abs-max", "channels", "abs-channels"])
def test_a_similarity_compares_the_maps_it_is_told_to(name: str, chosen: str, make_relu_case: MakeCase) -> None:
    if issubclass(registry.get(name), SpatialSimilarity) and "channels" in chosen:
        return
    metric, case = registry.get(name)(maps=chosen), make_relu_case(slice(0, 3))
    before, after = (Saliency()(case.model, x, case.target) for x in (case.clean, case.attacked))
    wanted = {
        "sum": lambda raw: raw.sum(dim=1),
        "abs-max": lambda raw: raw.abs().amax(dim=1),
        "channels": lambda raw: raw.flatten(1, 2),
        "abs-channels": lambda raw: raw.abs().flatten(1, 2),
    }[chosen]
    assert torch.equal(metric.score(case), metric(wanted(before), wanted(after)))


@pytest.mark.parametrize("by", ["pearson", "cosine", "spearman", "ssim"])
def test_similarity_to_the_target_is_that_to_the_partners_map(by: str, make_relu_case: MakeCase) -> None:
    case = make_relu_case()
    partners = case.clean.roll(1, 0)
    drawn = Saliency()(case.model, partners, case.model(partners).argmax(dim=1)).abs().sum(dim=1)
    found = TargetSimilarity(by=by).score(case)
    reached = Saliency()(case.model, case.attacked, case.target).abs().sum(dim=1)
    assert torch.allclose(found, registry.get(by)()(drawn, reached), rtol=1e-12, equal_nan=True)
    assert not found.isnan().all()


def test_the_maps_of_a_case_are_explained_once(make_case: MakeCase) -> None:
    case = make_case()
    assert case.clean_maps is case.clean_maps


def test_maps_that_nothing_attacked_are_those_of_the_clean_images(make_case: MakeCase) -> None:
    case = make_case(unattacked=True)
    assert case.attacked_attributions is case.clean_attributions


def test_a_metric_that_does_not_say_what_it_is_or_returns_another_shape_is_refused() -> None:
    with pytest.raises(TypeError, match="must say higher_is_better"):
        type("Mute", (Similarity,), {"compare": lambda *maps: maps[1]})
    mean = type(
        "Mean",
        (Similarity,),
        {"compare": lambda *maps: maps[1].mean(), "higher_is_better": True, "bounds": (0.0, 1.0)},
    )
    with pytest.raises(ValueError, match=r"Mean\.compare returned .* for 5 images"):
        mean()(maps("plain", 0), maps("plain", 1))
    seven = type("Seven", (mean,), {"compare": lambda *_: torch.full((5,), 7.0)})
    with pytest.raises(ValueError, match=r"Seven\.compare returned 7, and its bounds are 0 and 1"):
        seven()(maps("plain", 0), maps("plain", 1))
    nothing = type("Nothing", (mean,), {"compare": lambda *_: None})
    with pytest.raises(ValueError, match=r"Nothing\.compare returned NoneType for 5 images"):
        nothing()(maps("plain", 0), maps("plain", 1))


WITHOUT_EFFECT: list[CaseMetric] = [
    SSIM(),
    SSIM(window="gaussian"),
    SSIM(range="value"),
    HessianNorm(iterations=2),
    HessianNorm(by="frobenius", samples=2),
    *(Infidelity(samples=4, perturbation=kind) for kind in ("noise", "baseline", "square")),
]


@pytest.mark.parametrize("metric", WITHOUT_EFFECT, ids=str)
def test_settings_without_effect_change_nothing_and_others_do(metric: CaseMetric, make_case: MakeCase) -> None:
    case = make_case(slice(0, 2))
    other = {"value": 3.0, "sigma": 0.9, "samples": 5, "iterations": 5, "side": 3, "fill": "black"}
    changed = {name: replace(metric, **{name: value}) for name, value in other.items() if hasattr(metric, name)}
    same = {name for name, item in changed.items() if torch.equal(item.score(case), metric.score(case))}
    assert metric.without_effect == same


@pytest.mark.parametrize("kind", [CaseMetric, Similarity, Quality, RetrainingMetric])
def test_a_kind_of_metric_is_no_metric(kind: type[Metric]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()
    with pytest.raises(TypeError, match="must say higher_is_better"):
        type("Mute", (kind,), {})


def test_a_quality_that_returns_another_shape_is_refused(make_case: MakeCase) -> None:
    said = {"higher_is_better": True, "bounds": (0.0, 1.0)}
    mean = type("Mean", (Quality,), {"judge": lambda _, case: case.clean.mean(), **said})
    with pytest.raises(ValueError, match=r"Mean\.judge returned .* for 12 images"):
        mean().score(make_case())


@pytest.mark.parametrize("name", ["cosine", "mass-center", "normalized-l2", "pearson"])
def test_maps_at_the_ends_of_the_floats_are_compared_like_others(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = (100 * torch.randn(2, 2, 12, 12, generator=generator, dtype=torch.float64)).round()
    metric = registry.get(name)()
    for scale in (5e-324, 1e-154, 1e154, torch.finfo(torch.float64).max / 1024):
        assert torch.allclose(metric(scale * a, scale * b), metric(a, b), rtol=1e-12)
