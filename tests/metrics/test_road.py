"""ROAD against a dense system of equations and loops over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from attrobust.explainers.baselines import Constant, Random
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import ImageStreams
from attrobust.metrics import registry
from attrobust.metrics.base import Quality
from attrobust.metrics.faithfulness.road import Removal, Road, RoadLerf, RoadMorf
from attrobust.metrics.shared.case import Case
from attrobust.metrics.shared.imputation import imputed
from attrobust.naming.spec import Spec, build

from helpers.cases import MakeCase


def imputed_slowly(image: np.ndarray, removed: list[tuple[int, int]]) -> np.ndarray:
    """The image with removed pixels from a dense system, row by row."""
    _, height, width = image.shape
    number = {pixel: i for i, pixel in enumerate(removed)}
    left, right = np.zeros((len(removed), len(removed))), np.zeros((len(removed), len(image)))
    for (row, column), i in number.items():
        for down in (-1, 0, 1):
            for along in (-1, 0, 1):
                other = (row + down, column + along)
                if (down, along) == (0, 0) or not (0 <= other[0] < height and 0 <= other[1] < width):
                    continue
                weight = 1 / 12 if down and along else 1 / 6
                left[i, i] += weight
                if other in number:
                    left[i, number[other]] -= weight
                else:
                    right[i] += weight * image[:, other[0], other[1]]
    filled = image.copy()
    for pixel, values in zip(removed, np.linalg.solve(left, right), strict=True):
        filled[:, pixel[0], pixel[1]] = values
    return filled


def road_slowly(case: Case, metric: Removal, row: int) -> tuple[float, float]:
    """MoRF and LeRF of one image."""
    image, values = case.clean[row], case.clean_maps[row]
    height, width = values.shape
    means = []
    for sign in (-1, 1):
        streams = ImageStreams(case.seed, [case.ids[row]], "ROAD")
        ties = streams.uniform(values.double().flatten()[None])[0].tolist()
        order = sorted(range(height * width), key=lambda i: (sign * float(values.flatten()[i]), ties[i]))
        scores = []
        for level in metric.levels.split("/"):
            removed = [divmod(i, width) for i in order[: round(height * width * float(level) / 100)]]
            filled = torch.from_numpy(imputed_slowly(image.numpy(), removed))
            noise = metric.noise * streams.normal(image[None])[0]
            for pixel in removed:
                filled[:, pixel[0], pixel[1]] += noise[:, pixel[0], pixel[1]]
            probabilities = case.model(filled[None]).detach().softmax(dim=1)[0]
            target = int(case.target[row])
            right = float(probabilities.argmax() == target)
            scores.append(right if metric.measure == "accuracy" else float(probabilities[target]))
        means.append(sum(scores) / len(scores))
    return means[0], means[1]


@pytest.mark.parametrize("settings", [{}, {"levels": "5/40", "noise": 0.2}, {"measure": "accuracy", "levels": "60/80"}])
@pytest.mark.parametrize("reduce", [torch.Tensor.abs, torch.Tensor.round], ids=["plain", "tied"])
def test_roads_are_those_of_loops_over_pixels(
    settings: dict[str, object], reduce: Callable[[Tensor], Tensor], make_coarse_case: MakeCase
) -> None:
    case = replace(make_coarse_case(slice(0, 2)), reduce=lambda raw: reduce(raw).sum(dim=1))
    metrics = [kind(**settings) for kind in (RoadMorf, RoadLerf, Road)]  # type: ignore[arg-type]
    morf, lerf, difference = (metric.score(case).tolist() for metric in metrics)
    for row in range(2):
        slow_morf, slow_lerf = road_slowly(case, metrics[0], row)
        assert morf[row] == pytest.approx(slow_morf, abs=1e-11)
        assert lerf[row] == pytest.approx(slow_lerf, abs=1e-11)
        assert difference[row] == pytest.approx(slow_lerf - slow_morf, abs=1e-11)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_imputation_solves_the_equations_of_every_size_and_channel(share: float) -> None:
    draws = torch.Generator().manual_seed(0)
    for height, width in ((1, 9), (8, 5), (2, 2)):
        image = torch.rand(3, height, width, generator=draws, dtype=torch.float64)
        removed = torch.rand(height, width, generator=draws) < share
        removed[0, 0] = False
        places = [(int(row), int(column)) for row, column in removed.nonzero()]
        wanted = imputed_slowly(image.numpy(), places)
        assert torch.allclose(imputed(image, removed), torch.from_numpy(wanted), rtol=0, atol=1e-12)


def test_an_image_of_one_colour_stays_and_an_imputed_pixel_lies_between_its_neighbours() -> None:
    flat = torch.full((2, 6, 6), 0.3, dtype=torch.float64)
    removed = torch.ones(6, 6, dtype=torch.bool)
    removed[2, 3] = False
    assert torch.allclose(imputed(flat, removed), flat, atol=1e-14)
    assert torch.equal(imputed(flat, torch.zeros(6, 6, dtype=torch.bool)), flat)
    steps = torch.arange(25.0, dtype=torch.float64).view(1, 5, 5)
    removed = torch.zeros(5, 5, dtype=torch.bool)
    removed[2, 2] = True
    assert float(imputed(steps, removed)[0, 2, 2]) == pytest.approx(12.0, abs=1e-13)


def test_gradients_pass_and_constant_and_random_maps_are_at_chance(make_relu_case: MakeCase) -> None:
    by = {
        name: [metric.score(make_relu_case(explainer=explainer)) for metric in (Road(), RoadMorf(), RoadLerf())]
        for name, explainer in {"gradient": Saliency(), "constant": Constant(), "random": Random()}.items()
    }
    difference, morf, lerf = by["constant"]
    assert (difference == 0).all()
    assert torch.equal(morf, lerf)
    assert abs(float(by["random"][0].mean())) < 0.1
    assert (by["gradient"][0] > 0).all()
    assert float(by["gradient"][0].mean()) > 0.2
    # Not by the order of equal values: the order of a constant map is as good as that of a random one.
    assert abs(float((by["constant"][1] - by["random"][1]).mean())) < 0.15
    assert float((by["gradient"][1] - by["constant"][1]).mean()) < -0.1
    # These digits are hardly ever lost when nothing but their least relevant pixels goes, by whichever map.
    assert float((by["gradient"][2] - by["constant"][2]).mean()) > 0


def test_a_reversed_map_has_the_opposite_score(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 3))
    opposite = replace(case, reduce=lambda raw: -reduce_map(raw, "abs-sum"))
    metric = Road(noise=0.0)
    assert torch.allclose(metric.score(opposite), -metric.score(case), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": "30/10"}, "rising percentages"),
        ({"levels": "0/10"}, "rising percentages"),
        ({"levels": "10/100"}, "rising percentages"),
        ({"levels": "ten"}, "rising percentages"),
        ({"noise": "-1"}, "noise=-1 must not be negative"),
        ({"measure": "logit"}, "probability, accuracy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        build(registry.get("road"), Spec("road", settings))


def test_levels_must_remove_different_numbers_of_pixels() -> None:
    Road().check_size(8, 8)
    with pytest.raises(ValueError, match="every level must remove a number of its own, and not all"):
        Road(levels="10/11").check_size(4, 4)
    with pytest.raises(ValueError, match="every level must remove a number of its own, and not all"):
        Road(levels="99").check_size(4, 4)


def test_noise_is_of_the_image_and_not_of_the_batch(make_relu_case: MakeCase) -> None:
    metric: Quality = RoadMorf(noise=0.3, levels="50")
    together = metric.score(make_relu_case(slice(0, 3)))
    assert together[2].item() == pytest.approx(metric.score(make_relu_case(slice(2, 3))).item(), rel=1e-12)
    assert not math.isclose(together[2], RoadMorf(noise=0.0, levels="50").score(make_relu_case(slice(2, 3))))
