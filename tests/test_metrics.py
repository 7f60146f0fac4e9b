"""The contracts of similarities and qualities, over everything registered, against scipy and brute force."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch
from cases import FEW, MakeCase
from torch import Tensor, nn

from attrobust.ranks import sorted_ranks
from attrobust.reduction import reduce_map
from attrobust.types import Amount
from explainers.saliency import Saliency
from metrics import registry
from metrics.base import CaseMetric, Metric, Quality, Similarity
from metrics.correlation import average_ranks
from metrics.normalized_l2 import NormalizedL2
from metrics.study import Study
from metrics.topk import TopK

SIMILARITIES = [name for name in registry.names() if issubclass(registry.get(name), Similarity)]
QUALITIES = [name for name in registry.names() if issubclass(registry.get(name), Quality)]
STUDIES = [name for name in registry.names() if issubclass(registry.get(name), Study)]
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
    """An independent computation for one pair of flat maps."""
    if isinstance(metric, TopK):
        k = metric.k.of(a.size)
        top = [set(sorted(range(a.size), key=lambda i: (-values[i], i))[:k]) for values in (a, b)]
        return len(top[0] & top[1]) / k
    match next(name for name in SIMILARITIES if registry.get(name) is type(metric)):
        case "spearman":
            return float(scipy.stats.spearmanr(a, b).statistic)
        case "cosine":
            scaled = [values / np.abs(values).max() for values in (a, b)]
            return (
                sum(x * y for x, y in zip(*scaled, strict=True))
                / math.dist(scaled[0], 0 * a)
                / math.dist(scaled[1], 0 * a)
            )
        case "normalized-l2":
            assert isinstance(metric, NormalizedL2)
            scaled = [values / np.abs(values).max() for values in (a, b)]
            norms = {"l2": lambda v: math.dist(v, 0 * v), "sum": lambda v: float(np.abs(v).sum()), "max": lambda _: 1.0}
            return math.dist(*(values / norms[metric.by](values) for values in scaled))
        case other:
            raise AssertionError(f"write an oracle for {other}")


def variants() -> list[Similarity]:
    found = [registry.get(name)() for name in SIMILARITIES]
    return [
        *(metric for metric in found if isinstance(metric, Similarity)),
        TopK(k=Amount(7, percent=False)),
        TopK(k=Amount(100, percent=True)),
        NormalizedL2(by="sum"),
        NormalizedL2(by="max"),
    ]


@pytest.mark.parametrize("metric", variants(), ids=str)
@pytest.mark.parametrize("kind", ["plain", "tied", "sparse", "huge", "tiny", "positive"])
def test_equal_to_an_independent_computation(metric: Similarity, kind: str) -> None:
    a, b = maps(kind, 0), maps(kind, 1)
    found = metric(a, b)
    assert found.dtype == torch.float64
    for row, left, right in zip(found.tolist(), a, b, strict=True):
        assert row == pytest.approx(oracle(metric, left.flatten().numpy(), right.flatten().numpy()), abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_equal_to_an_independent_computation_on_imagenet_sized_maps(metric: Similarity) -> None:
    a, b = maps("tied", 0, 1, 224), maps("tied", 1, 1, 224)
    wanted = oracle(metric, a.flatten().numpy(), b.flatten().numpy())
    assert float(metric(a, b)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_equal_to_an_independent_computation_on_real_maps(
    metric: Similarity, network: nn.Module, real_images: tuple[Tensor, Tensor]
) -> None:
    x, y = real_images
    a, b = (reduce_map(Saliency()(network, images, y), "abs-sum") for images in (x, (x + 0.05).clamp(0, 1)))
    for row, left, right in zip(metric(a, b).tolist(), a.double(), b.double(), strict=True):
        assert row == pytest.approx(oracle(metric, left.flatten().numpy(), right.flatten().numpy()), abs=1e-9)


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_a_map_agrees_with_itself_as_well_as_possible_and_bounds_hold(metric: Similarity) -> None:
    a, b = maps("tied", 0), maps("plain", 1)
    low, high = metric.bounds
    best = high if metric.higher_is_better else low
    assert metric(a, a).tolist() == pytest.approx([best] * len(a), abs=1e-12)
    for values in (metric(a, b), metric(a, -a)):
        assert ((values >= low) & (values <= high)).all()


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_positive_scale_does_not_matter(metric: Similarity) -> None:
    a, b = maps("plain", 0), maps("plain", 1)
    assert torch.allclose(metric(a, b), metric(1e-5 * a, 1e7 * b), rtol=1e-12)


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
    assert metric(a, b).isnan().tolist() == [True, True, True, False, False]
    assert metric(b, a).isnan().tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("name", ["topk", "spearman"])
def test_a_constant_map_has_no_ranking(name: str) -> None:
    a = maps("plain", 0)
    assert registry.get(name)()(a, torch.ones_like(a)).isnan().all()


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
    for ranks in (average_ranks, sorted_ranks):
        assert ranks(values).tolist() == wanted


def test_everything_registered_is_of_one_kind() -> None:
    assert sorted(SIMILARITIES + QUALITIES + STUDIES) == registry.names()


@pytest.mark.parametrize("name", CASE_METRICS)
def test_scores_of_a_case_are_float64_in_bounds_and_leave_it_alone(name: str, make_case: MakeCase) -> None:
    case = make_case()
    state, images = copy.deepcopy(case.model.state_dict()), (case.clean.clone(), case.attacked.clone())
    random_state, metric = torch.random.get_rng_state(), registry.get(name)(**FEW.get(name, {}))
    scores = metric.score(case)
    low, high = metric.bounds
    assert scores.dtype == torch.float64
    assert scores.shape == (len(case.clean),)
    assert ((scores >= low) & (scores <= high) | scores.isnan()).all()
    assert not scores.isnan().all()
    assert not scores.requires_grad
    assert torch.equal(metric.score(case), scores)
    assert all(torch.equal(value, state[key]) for key, value in case.model.state_dict().items())
    assert not case.model.training
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in case.model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(case.clean, images[0])
    assert torch.equal(case.attacked, images[1])


@pytest.mark.parametrize("name", CASE_METRICS)
def test_a_score_of_a_case_does_not_depend_on_the_batch(name: str, make_case: MakeCase) -> None:
    metric = registry.get(name)(**FEW.get(name, {}))
    together = metric.score(make_case())
    alone = torch.cat([metric.score(make_case(slice(i, i + 1))) for i in range(len(together))])
    assert torch.allclose(alone, together, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in CASE_METRICS if registry.get(name).scope != "network"])
def test_maps_that_are_not_finite_have_no_score(name: str, make_case: MakeCase) -> None:
    assert registry.get(name)().score(make_case(factor=float("nan"))).isnan().all()


@pytest.mark.parametrize("metric", variants(), ids=str)
def test_a_similarity_compares_the_maps_of_a_case(metric: Similarity, make_case: MakeCase) -> None:
    case = make_case()
    before, after = (Saliency()(case.model, x, case.target).abs().sum(dim=1) for x in (case.clean, case.attacked))
    assert torch.equal(metric.score(case), metric(before, after))


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


@pytest.mark.parametrize("kind", [CaseMetric, Similarity, Quality, Study])
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
